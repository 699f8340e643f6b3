"""How well the annotations of two flows agree: which words of the requirement became which step.

A flow says of its trigger and of each step which words it implements. Two flows agree where the same words
became the same kind of step, wherever it stands. This is the F1 of named-entity recognition with the
definition as the entity's class.

>>> wanted = {"components": [{"definition": "log", "annotation": "log hello"}]}
>>> span_f1({"components": [{"definition": "log", "annotation": "log hello world"}]}, wanted)
0.0
>>> round(word_f1({"components": [{"definition": "log", "annotation": "log hello world"}]}, wanted), 2)
0.8
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from flowdsl.model import Flow
from flowdsl.similarity import read_flow

_WORD = re.compile(r"\w+")
_Flow = Flow | Mapping[str, Any] | str


def span_f1(candidate: _Flow, reference: _Flow) -> float:
    """F1 of the exact pairs (definition, annotation); 1.0 if neither flow has one.

    Steps without an annotation count as if annotated with nothing, so that leaving annotations out does not
    pay. Takes what `flow_similarity` takes.
    """
    return _f1(Counter(_spans(candidate)), Counter(_spans(reference)))


def word_f1(candidate: _Flow, reference: _Flow) -> float:
    """F1 of the pairs (definition, word of its annotation), letter case aside: half a span counts half."""
    mine, wanted = (
        Counter((definition, word.lower()) for definition, text in _spans(flow) for word in _WORD.findall(text))
        for flow in (candidate, reference)
    )
    return _f1(mine, wanted)


def _spans(flow: _Flow) -> Iterator[tuple[str, str]]:
    data = read_flow(flow)
    if not isinstance(data, Mapping):
        return
    components = data.get("components")
    for owner in [data.get("trigger"), *(components if isinstance(components, list) else [])]:
        if isinstance(owner, Mapping):
            yield str(owner.get("type") or owner.get("definition")), str(owner.get("annotation") or "")


def _f1(mine: Counter[Any], wanted: Counter[Any]) -> float:
    together: Counter[Hashable] = mine & wanted
    sizes = mine.total() + wanted.total()
    return 2 * together.total() / sizes if sizes else 1.0
