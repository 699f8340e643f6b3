"""Measurements, side by side in one process. `flowdsl bench` runs them; README.md has the results."""
