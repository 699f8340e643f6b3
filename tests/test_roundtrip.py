"""JSON to DSL and back, and DSL to JSON and back, over drawn instances and flows."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import instances_with_flows

from flowdsl.check import check_flow
from flowdsl.compile import compile_dsl
from flowdsl.decompile import decompile
from flowdsl.instance import Instance
from flowdsl.model import Flow


@given(instances_with_flows())
def test_json_to_dsl_to_json(drawn: tuple[Instance, Any]) -> None:
    instance, data = drawn
    flow = Flow.from_json(data)
    text = decompile(flow, instance)
    again = compile_dsl(text, instance)
    assert again == flow
    assert decompile(again, instance) == text


@given(instances_with_flows(canonical=False, annotated=False))
def test_inputs_in_any_order_and_tables_left_out(drawn: tuple[Instance, Any]) -> None:
    instance, data = drawn
    flow = Flow.from_json(data)
    text = decompile(flow, instance)
    assert compile_dsl(text, instance) == flow


@given(instances_with_flows())
def test_without_the_instance_it_compiles_under_the_right_one(drawn: tuple[Instance, Any]) -> None:
    instance, data = drawn
    flow = Flow.from_json(data)
    assert compile_dsl(decompile(flow), instance) == flow


@given(instances_with_flows(size=6), st.data())
def test_generous_text_settles_after_one_round(drawn: tuple[Instance, Any], data: st.DataObject) -> None:
    """However a flow is indented, numbered, spaced and commented, one round makes it canonical."""
    instance, flow = drawn
    lines = []
    for line in decompile(Flow.from_json(flow), instance).split("\n"):
        head, _, rest = line.strip().partition(" ")
        if head.isdigit() and data.draw(st.booleans()):
            line = rest
        lines.append(data.draw(st.sampled_from(["", " ", "\t", "      "])) + line.strip())
        lines.append(data.draw(st.sampled_from(["", '# a comment: "IF"', "   "])))
    ending = data.draw(st.sampled_from(["\n", "\r\n"]))
    compiled = compile_dsl(ending.join(lines), instance)
    assert compiled == Flow.from_json(flow)
    text = decompile(compiled, instance)
    assert decompile(compile_dsl(text, instance), instance) == text


@given(instances_with_flows(annotated=False))
def test_flow_json_is_a_fixed_point(drawn: tuple[Instance, Any]) -> None:
    """The JSON that comes out is the JSON that went in, and survives being written and read."""
    _, data = drawn
    flow = Flow.from_json(data)
    assert Flow.from_json(json.loads(json.dumps(flow.to_json()))) == flow
    assert Flow.from_json(flow.to_json()).to_json() == flow.to_json()
    assert _without_defaults(flow.to_json()) == _without_defaults(data)


def _without_defaults(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_defaults(item) for key, item in value.items() if item not in (None, [], ())}
    return [_without_defaults(item) for item in value] if isinstance(value, list) else value


def test_annotations_are_spans_of_the_requirement() -> None:
    """The strategy does what it says when a requirement is given."""
    requirement = 'When a "user" leaves, tell their manager'

    @given(instances_with_flows(requirement=requirement))
    def each(drawn: tuple[Instance, Any]) -> None:
        instance, data = drawn
        assert all(component["annotation"] in requirement for component in data["components"])
        assert check_flow(data, instance) == []

    each()


# -- cases by hand -----------------------------------------------------------------------------


def _table(*columns: dict[str, Any]) -> Instance:
    lookup = {
        "name": "find",
        "inputs": [{"name": "table", "type": "table_name"}, {"name": "conditions", "type": "conditions"}],
        "outputs": [{"name": "Records", "type": "records", "reference": "$table"}],
    }
    return Instance.from_json({"name": "t", "steps": [lookup], "tables": [{"name": "thing", "columns": list(columns)}]})


def _find(conditions: str) -> Flow:
    inputs = [{"name": "table", "value": "thing"}, {"name": "conditions", "value": conditions}]
    step = {"category": "action", "definition": "find", "order": 1, "inputs": inputs}
    return Flow.from_json({"trigger": None, "components": [step]})


_SWAPPED = [{"value": "1", "label": "2"}, {"value": "2", "label": "1"}, {"value": "x", "label": "{{1.Count}}"}]


@pytest.mark.parametrize(
    ("column", "conditions"),
    [
        ({"name": "state", "type": "choice", "choices": _SWAPPED}, "state=1"),
        ({"name": "state", "type": "choice", "choices": _SWAPPED}, "stateIN2,1,x"),
        ({"name": "state", "type": "choice", "choices": _SWAPPED}, "state=x"),
        ({"name": "state", "type": "choice", "choices": [{"value": "a", "label": ""}]}, "state="),  # "" is read as that label
        ({"name": "state", "type": "choice", "choices": [{"value": "a", "label": "today"}]}, "state<a"),
        ({"name": "when", "type": "date"}, "when<javascript:gs.beginningOfToday()"),
        ({"name": "when", "type": "date"}, "when>javascript:gs.beginningOfToday()"),
        ({"name": "when", "type": "date_time"}, "when<2024-01-01 00:00:00^ORwhen>=2024-01-01 10:00:09"),
        ({"name": "when", "type": "date_time"}, "whenONLast month@javascript:gs.beginningOfLastMonth()@javascript:gs.endOfLastMonth()"),
        ({"name": "when", "type": "date_time"}, "whenONToday@javascript:gs.daysAgoStart(0)@javascript:gs.daysAgoEnd(0)"),
        ({"name": "today", "type": "date"}, "today=2024-01-01^todaySAMEAStoday"),
        ({"name": "javascript:gs", "type": "string"}, "javascript:gs=x"),
        ({"name": "text", "type": "string"}, "textSAMEAStext@day"),
        ({"name": "text", "type": "string"}, "text="),
        ({"name": "text", "type": "string"}, "text=^EQ"),
        ({"name": "text", "type": "string"}, "text=a^EQ"),
        ({"name": "text", "type": "string"}, "text=a\nb\tc\u2028d\u0085"),
        ({"name": "text", "type": "string"}, "textINa, b,,c"),
        ({"name": "ORder", "type": "string"}, "ORder=1^NQORder=2^ORORder=3"),
        ({"name": "text.more", "type": "string"}, "text.more=1"),
        ({"name": "a.b.c d", "type": "string"}, "a.b.c d=1"),
        ({"name": "len", "type": "duration"}, "len>1970-01-11 04:00:00"),
        ({"name": "len", "type": "time"}, "len=1970-01-01 07:00:01"),
        ({"name": "flag", "type": "boolean"}, "flagSAMEASflag"),
    ],
)  # fmt: skip
def test_conditions_by_hand(column: dict[str, Any], conditions: str) -> None:
    instance, flow = _table(column), _find(conditions)
    assert check_flow(flow, instance) == []
    text = decompile(flow, instance)
    assert compile_dsl(text, instance) == flow, text
    assert compile_dsl(decompile(flow), instance) == flow


def test_a_subflow_with_inputs_only_survives() -> None:
    """`outputs` absent is not the same as no outputs; a flow that checks comes back as it was."""
    instance = _table()
    data = {"trigger": None, "inputs": {"items": [{"name": "x", "type": "string"}]}, "components": []}
    flow = Flow.from_json(data)
    if not check_flow(flow, instance):
        assert compile_dsl(decompile(flow, instance), instance) == flow


def test_the_order_of_a_triggers_inputs_survives_without_the_instance() -> None:
    """The bundled instance knows this trigger with other inputs: its order must not be used."""
    condition = {"name": "Run when", "type": "string"}
    trigger = {"name": "record_update", "inputs": [{"name": "table", "type": "table_name"}, condition]}
    instance = Instance.from_json({"name": "t", "triggers": [trigger]})
    inputs = [{"name": "Run when", "value": "always"}, {"name": "table", "value": "thing"}]
    flow = Flow.from_json({"trigger": {"type": "record_update", "inputs": inputs}, "components": []})
    assert check_flow(flow, instance) == []
    assert compile_dsl(decompile(flow), instance) == flow
