"""Hypothesis profiles: the default is quick, HYPOTHESIS_PROFILE=thorough draws 10,000 examples a property.

The default draws the same examples each time, so that a change is judged by what it changes; the thorough
one draws new ones.
"""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

_HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
settings.register_profile("default", max_examples=150, derandomize=True, deadline=None, suppress_health_check=_HEALTH)
settings.register_profile("thorough", max_examples=10_000, deadline=None, suppress_health_check=_HEALTH)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session")
def servicenow():
    from flowdsl import Instance

    return Instance.load("servicenow")


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache folder with the model in it and no index."""
    from flowdsl.encoder import encoder_path

    model = encoder_path()
    monkeypatch.setenv("FLOWDSL_CACHE", str(tmp_path))
    (tmp_path / model.name).symlink_to(model)
    return tmp_path
