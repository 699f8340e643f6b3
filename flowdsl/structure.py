"""Flow-Bench's exact match: are the activities and the control flow those that were expected?

A placeholder is what the benchmark calls a user task. What a user task says, annotations and other inputs
do not count.

>>> flow = Flow.from_json({"components": [{"category": "flowlogic", "definition": "IF", "order": 1, "inputs": [
...     {"name": "condition", "value": "{{trigger.current.Size}}>3"}]},
...     {"definition": "placeholder", "order": 2, "block": 1}]})
>>> structure(flow)
(('IF', '', (('user_task', '', ()),)),)
>>> structure(flow, conditions=True)[0][1]
'{{trigger.current.size}}>3'
"""

import re
from typing import Any

from flowdsl.bench_script import USER_TASK
from flowdsl.model import PLACEHOLDER, Flow
from flowdsl.tree import Tree

_CONDITIONS = frozenset({"condition", "conditions", "items"})
#: `1.records.size` is `1.record.size`: which of the two a step gives is a convention of ours.
_OUTPUT = re.compile(r"(\{\{\d+)\.(?:records?|item)(?=[.}])")


def structure(flow: Flow, conditions: bool = False) -> tuple[Any, ...]:
    """The steps as nested tuples (definition, condition, inner steps); equal for equal structures.

    Args:
        conditions: also compare the conditions of IF, ELSEIF and DOUNTIL and what a FOREACH goes through,
            letter case and the order of parts joined by AND aside.
    """
    tree = Tree(flow.components)

    def below(block: int | None) -> tuple[Any, ...]:
        return tuple(told(i) for i in tree.children.get(block, ()))

    def told(i: int) -> tuple[str, str, tuple[Any, ...]]:
        component = flow.components[i]
        name = USER_TASK if component.definition == PLACEHOLDER else component.definition
        said = ""
        if conditions and component.is_logic:
            said = "; ".join(_plain(item.value) for item in component.inputs if item.name in _CONDITIONS)
        return name, said, below(i)

    return below(None)


def _plain(query: str) -> str:
    parts = re.split(r"\^(?!OR|NQ)", _OUTPUT.sub(r"\1", query).lower())
    return "^".join(sorted(parts)) if "^nq" not in query.lower() else query.lower()
