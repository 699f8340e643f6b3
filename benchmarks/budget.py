"""Random budgets: every flow is valid and complete, and the more tokens it may have, the closer it comes.

    python benchmarks/budget.py [--flows 25] [--budgets 20] [--out FOLDER]

Flows of the development split are generated without a limit, then again with random values of `max_tokens` up to
1.2 times what they took. Counted are flows with an issue, and those that differ from the unlimited one although
there was room for it. The curve is FlowSim to the unlimited flow and to the reference, by the share of its tokens
that was allowed. Values below the least possible budget are refused by name and drawn again.
"""

import argparse
import random
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flowdsl import Flow, Instance, check_flow, flow_similarity, generate_flow
from flowdsl.errors import BudgetTooSmall
from flowdsl.pairs import instance_for, read_pairs

PAIRS = Path(__file__).parent.parent / "data" / "dev.jsonl"
BINS = 8


@dataclass(frozen=True)
class Cut:
    """One flow under one budget, as a share of the tokens of the unlimited flow."""

    share: float
    issues: int
    identical: bool
    to_unlimited: float
    to_reference: float


def cuts(requirement: str, reference: Flow, instance: Instance, budgets: int, rng: random.Random) -> list[Cut]:
    """A flow under `budgets` random budgets."""
    whole = generate_flow(requirement, instance)
    natural = whole.stats.output_tokens
    made: list[Cut] = []
    least = 1
    while len(made) < budgets:
        budget = rng.randint(least, max(least, int(1.2 * natural)))
        try:
            result = generate_flow(requirement, instance, max_tokens=budget)
        except BudgetTooSmall:
            least = budget + 1
            continue
        assert result.stats.output_tokens <= budget
        made.append(
            Cut(
                budget / natural,
                len(check_flow(result.to_json(), instance)),
                result.dsl == whole.dsl,
                flow_similarity(result.flow, whole.flow),
                flow_similarity(result.flow, reference),
            )
        )
    return made


def curve(made: Sequence[Cut]) -> list[tuple[float, int, float, float]]:
    """By share of the natural length: the middle, how many, and the mean FlowSim to both flows."""
    rows = []
    for index in range(BINS + 2):
        here = [cut for cut in made if index <= cut.share * BINS < index + 1]
        if here:
            means = (statistics.mean(getattr(cut, name) for cut in here) for name in ("to_unlimited", "to_reference"))
            rows.append(((index + 0.5) / BINS, len(here), *means))
    return rows  # type: ignore[return-value]


def draw(rows: Sequence[tuple[float, int, float, float]], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    shares = [row[0] for row in rows]
    axes.plot(shares, [row[2] for row in rows], marker="o", label="to the unlimited flow")
    axes.plot(shares, [row[3] for row in rows], marker="o", label="to the reference")
    axes.set_xlabel("budget, share of the tokens of the unlimited flow")
    axes.set_ylabel("complete FlowSim")
    axes.set_ylim(0, 1.02)
    axes.legend()
    figure.savefig(file, dpi=120)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=25)
    parser.add_argument("--budgets", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("bench"))
    options = parser.parse_args()
    rng, made = random.Random(1), list[Cut]()
    pairs = [pair for pair in read_pairs(PAIRS) if pair.prior is None][: options.flows]
    for number, pair in enumerate(pairs, start=1):
        made += cuts(pair.requirement, pair.compiled(), instance_for(pair.instance), options.budgets, rng)
        print(f"{number}/{len(pairs)}: {len(made)} flows", file=sys.stderr, flush=True)
    invalid = sum(cut.issues > 0 for cut in made)
    roomy = [cut for cut in made if cut.share >= 1]
    print(f"{len(made)} flows: {invalid} with an issue", end="; ")
    print(f"of {len(roomy)} with room for the unlimited one {sum(cut.identical for cut in roomy)} are identical to it")
    print("| budget | flows | FlowSim to the unlimited flow | to the reference |\n| --- | --- | --- | --- |")
    rows = curve(made)
    for share, count, unlimited, reference in rows:
        print(f"| {share:.2f} | {count} | {unlimited:.3f} | {reference:.3f} |")
    options.out.mkdir(parents=True, exist_ok=True)
    draw(rows, options.out / "budget.png")
    return 1 if invalid or not all(cut.identical for cut in roomy) else 0


if __name__ == "__main__":
    sys.exit(main())
