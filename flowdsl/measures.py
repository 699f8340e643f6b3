"""The figures of one case: an answer against its reference.

>>> from flowdsl.instance import Instance
>>> flow = Flow.from_json({"trigger": None, "components": [{"definition": "log", "order": 1}]})
>>> figures = measure(None, flow, Instance.load("servicenow"))
>>> figures["complete"], figures["exact"]
(0.0, 0.0)
"""

from collections.abc import Mapping

from flowdsl.equivalence import equivalent_similarity
from flowdsl.instance import Instance
from flowdsl.model import Flow
from flowdsl.similarity import component_match, flow_similarity, tree_bleu, trigger_match
from flowdsl.spans import span_f1, word_f1

#: The figures by name, with what reports call them. All are in [0, 1], more is better.
MEASURES: Mapping[str, str] = {
    "outline": "FlowSim outline",
    "complete": "FlowSim complete",
    "equivalent_outline": "FlowSim outline, equivalence-aware",
    "equivalent": "FlowSim complete, equivalence-aware",
    "tree_bleu": "TreeBLEU",
    "trigger": "trigger match",
    "trigger_type": "trigger type",
    "components": "component match",
    "exact_outline": "exact outline",
    "exact": "exact flow",
    "exact_equivalent": "exact flow, equivalence-aware",
    "span_f1": "span F1",
    "word_f1": "word F1",
}

_EMPTY = Flow()


def measure(candidate: Flow | None, reference: Flow, instance: Instance) -> dict[str, float]:
    """Every figure of `MEASURES`. No flow at all counts as the empty flow.

    "exact" means that nothing that FlowSim compares differs: annotations may.
    """
    flow = candidate or _EMPTY
    outline, complete = (flow_similarity(flow, reference, inputs) for inputs in (False, True))
    equivalent_outline = equivalent_similarity(flow, reference, instance, inputs=False)
    equivalent = equivalent_similarity(flow, reference, instance)
    types = [one.trigger.type if one.trigger else None for one in (flow, reference)]
    return {
        "outline": outline,
        "complete": complete,
        "equivalent_outline": equivalent_outline,
        "equivalent": equivalent,
        "tree_bleu": tree_bleu(flow, reference),
        "trigger": trigger_match(flow, reference),
        "trigger_type": float(types[0] == types[1]),
        "components": component_match(flow, reference),
        "exact_outline": float(outline == 1.0),
        "exact": float(complete == 1.0),
        "exact_equivalent": float(equivalent == 1.0),
        "span_f1": span_f1(flow, reference),
        "word_f1": word_f1(flow, reference),
    }
