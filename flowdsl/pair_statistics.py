"""What a set of pairs holds: triggers, steps, lengths, instances, and how varied it is worded."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from flowdsl.model import Flow
from flowdsl.pairs import Pair
from flowdsl.wording import Wording


@dataclass(frozen=True)
class Lengths:
    """Least, median, mean and most."""

    least: int
    median: float
    mean: float
    most: int

    @classmethod
    def of(cls, values: Sequence[int]) -> "Lengths":
        """All zero if there is no value."""
        return cls(min(values), median(values), sum(values) / len(values), max(values)) if values else cls(0, 0, 0, 0)

    def __str__(self) -> str:
        return f"{self.least} to {self.most}, median {self.median:g}, mean {self.mean:.1f}"


@dataclass(frozen=True)
class Statistics:
    """The distribution of some pairs.

    Attributes:
        pairs, edits: how many, and how many of them change a prior flow.
        counts: by what is counted (split, origin, instance, kind, trigger, step, logic, steps, tag).
        words, steps: of the requirements and of the flows.
        wording: of the individually worded pairs (origin "written").
        flows: how many different flows, annotations aside.
    """

    pairs: int
    edits: int
    counts: Mapping[str, Counter[str]]
    words: Lengths
    steps: Lengths
    wording: Wording
    flows: int

    def to_json(self) -> dict[str, Any]:
        """Everything, counts from the commonest down."""
        return {
            "pairs": self.pairs,
            "edits": self.edits,
            "different_flows": self.flows,
            "words": vars(self.words),
            "steps": vars(self.steps),
            "counts": {name: dict(count.most_common()) for name, count in self.counts.items()},
            "wording": {
                name: [vars(item) for item in getattr(self.wording, name)]
                for name in ("skeletons", "eight_grams", "openings")
            },
            "over": list(self.wording.over),
        }


def statistics(pairs: Sequence[Pair]) -> Statistics:
    """The statistics of pairs whose flows compile.

    Raises:
        InvalidFlow: one does not; `validate_pairs` says which.
    """
    counts: dict[str, Counter[str]] = {
        name: Counter() for name in "split origin instance kind trigger step logic steps tag".split()
    }
    words, steps, flows = [], [], set()
    for pair in pairs:
        flow = pair.compiled()
        words.append(len(pair.requirement.split()))
        steps.append(len(flow.components))
        flows.add(_bare(flow))
        counts["split"][pair.split] += 1
        counts["origin"][pair.origin] += 1
        counts["instance"][pair.instance] += 1
        counts["kind"]["edit" if pair.prior else kind_of_flow(flow)] += 1
        if flow.trigger is not None:
            counts["trigger"][flow.trigger.type] += 1
        for component in flow.components:
            counts["logic" if component.is_logic else "step"][component.definition] += 1
        counts["steps"][_band(len(flow.components))] += 1
        counts["tag"].update(pair.tags)
    wording = Wording.of([pair.requirement for pair in pairs if pair.origin == "written"])
    edits = sum(pair.prior is not None for pair in pairs)
    return Statistics(len(pairs), edits, counts, Lengths.of(words), Lengths.of(steps), wording, len(flows))


def kind_of_flow(flow: Flow) -> str:
    """A flow with a trigger, a subflow, or a fragment with neither.

    >>> kind_of_flow(Flow())
    'fragment'
    """
    return "subflow" if flow.is_subflow else "fragment" if flow.trigger is None else "flow"


def _band(steps: int) -> str:
    for low, high in ((0, 1), (2, 2), (3, 4), (5, 7), (8, 12)):
        if steps <= high:
            return f"{low}-{high}" if low != high else str(low)
    return "13+"


def _bare(flow: Flow) -> str:
    components = tuple(item.model_copy(update={"annotation": None}) for item in flow.components)
    trigger = flow.trigger and flow.trigger.model_copy(update={"annotation": None})
    return flow.model_copy(update={"components": components, "trigger": trigger}).model_dump_json()
