"""All measurements in one process: what `flowdsl bench` runs."""

import sys
from pathlib import Path
from typing import Any

from benchmarks.masks import INSTANCES, measure_masks
from benchmarks.report import markdown, write_report
from benchmarks.speed import Case, measure_speed
from decoding import Model
from flowdsl import Flow, Instance
from flowdsl.pairs import read_pairs

PAIRS = Path(__file__).parent.parent / "data" / "dev.jsonl"


def reference_cases(instance: str, limit: int) -> list[tuple[str, Flow]]:
    """Requirements of the development split for an instance, and their flows."""
    pairs = [pair for pair in read_pairs(PAIRS) if pair.prior is None and pair.instance == instance]
    return [(pair.requirement, pair.compiled()) for pair in pairs[:limit]]


def run_benchmarks(
    model: Model | None, *, limit: int, speed: bool, masks: bool, own_text: bool, folder: Path
) -> list[Path]:
    """Measure, print the tables, and write the report; its files.

    Args:
        model: for the speed.
        limit: requirements.
        own_text: all write what flowdsl makes of a requirement, and not the reference.
    """
    cases = reference_cases("servicenow", limit)
    results: dict[str, Any] = {}
    if speed and model is not None:
        print(f"speed: {len(cases)} requirements", file=sys.stderr)
        asked = [Case(requirement, None if own_text else flow) for requirement, flow in cases]
        results["speed"] = measure_speed(model, Instance.load("servicenow"), asked, _say)
        which = "what flowdsl makes of each requirement" if own_text else "the reference flow of each requirement"
        results["speed"]["about"] = f"{model.name}, {model.dtype}, {len(cases)} requirements; all write {which}."
    if masks:
        print("masks", file=sys.stderr)
        results["masks"] = measure_masks({name: reference_cases(name, limit) for name in INSTANCES})
    files = write_report(results, folder)
    print(markdown({"machine": {}, **results}).strip())
    return files


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
