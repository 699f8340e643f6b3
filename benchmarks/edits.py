"""What an edit costs, and whether it leaves the rest alone.

    python benchmarks/edits.py [--edits 30]

Written edits of the training split (so nothing about quality: the model has been tuned on them), and as many of its
requirements, in turns. Counted are tokens of the whole flow for each pass, since what stays is read as drafts or is
not written at all.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

from flowdsl import FlowResult, edit_flow, generate_flow
from flowdsl.generate import default_model
from flowdsl.pairs import Pair, instance_for, read_pairs

PAIRS = Path(__file__).parent.parent / "data" / "train.jsonl"


def cost(results: list[FlowResult], seconds: list[float]) -> str:
    words = default_model().vocabulary
    tokens = sum(len(words.encode(result.dsl)) for result in results)
    passes = sum(result.stats.passes for result in results)
    return f"{tokens / passes:.1f} tokens a pass, {1000 * sum(seconds) / tokens:.0f} ms a token, " + (
        f"median {statistics.median(seconds):.1f} s a flow"
    )


def _some(pairs: list[Pair], count: int) -> list[Pair]:
    return pairs[:: max(1, len(pairs) // count)][:count]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edits", type=int, default=30)
    options = parser.parse_args()
    pairs = read_pairs(PAIRS)
    edits, others = ([pair for pair in pairs if (pair.prior is not None) == is_edit] for is_edit in (True, False))
    edited, fresh = list[FlowResult](), list[FlowResult]()
    times: tuple[list[float], list[float]] = ([], [])
    before = changed = 0
    for pair, other in zip(_some(edits, options.edits), _some(others, options.edits), strict=True):
        instance, prior = instance_for(pair.instance), pair.compiled_prior()
        assert prior is not None
        begun = time.perf_counter()
        edited.append(edit_flow(prior, pair.requirement, instance))
        between = time.perf_counter()
        fresh.append(generate_flow(other.requirement, instance_for(other.instance)))
        times[0].append(between - begun)
        times[1].append(time.perf_counter() - between)
        before += len(prior.owners)
        changed += sum(bool(change.before) for change in edited[-1].diff)
    print(f"{len(edited)} edits: {before - changed} of {before} triggers and steps are left as they were")
    print(f"edits: {cost(edited, times[0])}")
    print(f"flows from requirements: {cost(fresh, times[1])}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
