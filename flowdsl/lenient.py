"""A flow out of any JSON at all: what can be read is read, the rest becomes issues.

>>> draft = read_any({"trigger": 7, "components": [{"definition": "log", "order": "first"}, 3]})
>>> [issue.kind for issue in draft.issues]
['unknown_trigger', 'order', 'syntax']
>>> draft.components[0].definition
'log'
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard, get_args

from flowdsl.errors import FlowIssue
from flowdsl.model import Category, Component, Flow, Input, Item, Trigger

_CATEGORIES = get_args(Category)


@dataclass
class Draft:
    """What could be read of a flow. `orders` holds the component list's own numbers, None if unreadable."""

    trigger: Trigger | None = None
    is_subflow: bool = False
    items: dict[Literal["inputs", "outputs"], list[Item]] = field(default_factory=dict)
    components: list[Component] = field(default_factory=list)
    issues: list[FlowIssue] = field(default_factory=list)

    def problem(self, kind: str, message: str, where: int | str, name: str | None = None) -> None:
        self.issues.append(FlowIssue(kind, message, where, name))


def read_any(data: Any) -> Draft:
    """What can be read of a flow or of any JSON value."""
    draft = Draft()
    if isinstance(data, Flow):
        draft.trigger, draft.components = data.trigger, list(data.components)
        draft.is_subflow = data.is_subflow
        for key in ("inputs", "outputs"):
            items = getattr(data, key)
            draft.items[key] = list(items.items) if items else []
        return draft
    if not isinstance(data, Mapping):
        draft.problem("syntax", f"a flow is a JSON object, not {_name(data)}", "flow")
        return draft
    draft.trigger = _trigger(draft, data.get("trigger"))
    _items(draft, data)
    components = data.get("components", [])
    if not isinstance(components, Sequence) or isinstance(components, str):
        draft.problem("syntax", f"components is a list, not {_name(components)}", "flow")
        return draft
    for i, item in enumerate(components):
        if isinstance(item, Mapping):
            draft.components.append(_component(draft, item, i))
        else:
            draft.problem("syntax", f"component {i + 1} is {_name(item)}, not an object", "flow")
    return draft


def _name(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


def _trigger(draft: Draft, data: Any) -> Trigger | None:
    if data is None:
        return None
    if isinstance(data, list):
        draft.problem("trigger_count", f"a flow has one trigger, not a list of {len(data)}", "trigger")
        return _trigger(draft, data[0]) if data and isinstance(data[0], Mapping) else None
    if not isinstance(data, Mapping) or not isinstance(data.get("type"), str):
        draft.problem("unknown_trigger", "a trigger is an object with a type", "trigger")
        return None
    return Trigger(
        type=data["type"],
        annotation=_annotation(draft, data, "trigger"),
        inputs=_inputs(draft, data.get("inputs"), "trigger"),
    )


def _component(draft: Draft, data: Mapping[str, Any], i: int) -> Component:
    order = data.get("order")
    if not _is_int(order):
        draft.problem("order", f"component {i + 1} has the order {order!r}, not a number", i + 1)
        order = i + 1
    where = order
    block = data.get("block")
    if block is not None and not _is_int(block):
        draft.problem("block", f"the block is {_name(block)}, not a number", where)
        block = None
    category = data.get("category", "action")
    if category not in _CATEGORIES:
        draft.problem("wrong_category", f"{category!r} is none of {', '.join(_CATEGORIES)}", where)
        category = "action"
    definition = data.get("definition")
    if not isinstance(definition, str):
        draft.problem("unknown_step", "the component has no definition", where)
        definition = ""
    scope = data.get("scope", "global")
    if not isinstance(scope, str):
        draft.problem("wrong_scope", f"the scope is {_name(scope)}, not a string", where)
        scope = "global"
    return Component(
        category=category,
        definition=definition,
        scope=scope,
        order=order,
        block=block,
        annotation=_annotation(draft, data, where),
        inputs=_inputs(draft, data.get("inputs"), where),
    )


def _annotation(draft: Draft, data: Mapping[str, Any], where: int | str) -> str | None:
    annotation = data.get("annotation")
    if annotation is not None and not _is_text(annotation):
        draft.problem("syntax", f"the annotation is {_name(annotation)}, not text", where)
        return None
    return annotation


def _inputs(draft: Draft, data: Any, where: int | str) -> tuple[Input, ...]:
    if data is None:
        return ()
    if not isinstance(data, list | tuple):
        draft.problem("syntax", f"inputs is a list, not {_name(data)}", where)
        return ()
    inputs = []
    for item in data:
        name = item.get("name") if isinstance(item, Mapping) else None
        value = item.get("value") if isinstance(item, Mapping) else None
        if not _is_text(name):
            draft.problem("syntax", "an input is an object with name and value", where)
        elif not _is_text(value):
            draft.problem("bad_value", f"the value of {name!r} is {_name(value)}, not a string", where, name)
            inputs.append(Input(name=name, value=""))
        else:
            inputs.append(Input(name=name, value=value))
    return tuple(inputs)


def _items(draft: Draft, data: Mapping[str, Any]) -> None:
    for key in ("inputs", "outputs"):
        group = data.get(key)
        if group is None:
            continue
        draft.is_subflow = True
        items = group.get("items") if isinstance(group, Mapping) else None
        if not isinstance(items, list | tuple):
            draft.problem("syntax", f"{key} of a subflow is an object with a list of items", "flow")
            continue
        read = draft.items.setdefault(key, [])
        for item in items:
            if isinstance(item, Mapping) and _is_text(item.get("name")) and _is_text(item.get("type")):
                reference = item.get("reference")
                if reference is not None and not _is_text(reference):
                    draft.problem(
                        "syntax", f"the table of {item['name']!r} is {_name(reference)}, not a string", "flow"
                    )
                read.append(
                    Item(
                        name=item["name"],
                        type=item["type"],
                        reference=reference if _is_text(reference) else None,
                    )
                )
            else:
                draft.problem("syntax", f"one of the {key} has no name or no type", "flow")


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 60


def _is_text(value: Any) -> TypeGuard[str]:
    """Whether it is a string that can be written: no lone surrogates."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
