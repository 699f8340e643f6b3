"""FlowSim against the numbers of the released implementation, against `zss`, and against its laws."""

import json
from copy import deepcopy
from typing import Any

import pytest
import zss
from hypothesis import given, settings
from hypothesis import strategies as st

from flowdsl.errors import FlowError
from flowdsl.model import Flow
from flowdsl.similarity import (
    FREE_LABELS,
    TRIGGER_TYPES,
    Node,
    component_match,
    flow_similarity,
    flow_tree,
    query_tree,
    tree_bleu,
    tree_distance,
    trigger_match,
)


def _step(order: int, definition: str, block: int | None = None, category: str = "action", **inputs: str) -> Any:
    named = [{"name": name, "value": value} for name, value in inputs.items()]
    step = {"category": category, "definition": definition, "scope": "global", "order": order, "inputs": named}
    return step if block is None else step | {"block": block}


REFERENCE: dict[str, Any] = {
    "trigger": {"type": "daily", "inputs": [{"name": "time", "value": "1970-01-01 07:00:00"}]},
    "components": [
        _step(1, "look_up_records", table="problem", conditions="active=true^sys_created_onONYesterday"),
        _step(2, "FOREACH", category="flowlogic", items="{{1.Records}}"),
        _step(3, "IF", block=2, category="flowlogic", condition="{{2.item.assigned_to}}ISEMPTY"),
        _step(4, "update_record", block=3, table_name="problem", record="{{2.item}}",
              values="assignment_group=L1 Triage^state=triaged"),
        _step(5, "send_notification", block=3, record="{{2.item}}"),
    ],
}  # fmt: skip


def _edited(change: Any) -> Any:
    flow = deepcopy(REFERENCE)
    change(flow, flow["components"])
    return flow


def _set(step: int, place: int, value: str) -> Any:
    return _edited(lambda flow, steps: steps[step]["inputs"][place].update(value=value))


def _swap(flow: Any, steps: Any) -> None:
    steps[3], steps[4] = steps[4], steps[3]


TEXT = json.dumps(REFERENCE)
# What the authors' code gives: FlowSim, TreeBLEU (each: outline, with inputs), trigger and component match.
GOLDEN = {
    "identical": (REFERENCE, 1.0, 1.0, 1, 1, 1, 1),
    "identical text": (TEXT, 1.0, 1.0, 1, 1, 1, 1),
    "identical, fenced": (f"Here it is:\n```json\n{TEXT}\n```\nDone.", 1.0, 1.0, 1, 1, 1, 1),
    "identical Flow": (Flow.from_json(REFERENCE), 1.0, 1.0, 1, 1, 1, 1),
    "last step dropped": (_edited(lambda f, s: s.pop()), 0.9091, 0.9643, 0.8333, 0.9459, 1, 0.8),
    "trigger type": (_edited(lambda f, s: f["trigger"].update(type="weekly")), 0.8333, 0.9655, 0.8333, 0.9459, 0, 1),
    "trigger null": (_edited(lambda f, s: f.update(trigger=None)), 0.9091, 0.9643, 0.8333, 0.9189, 0, 1),
    "trigger missing": (_edited(lambda f, s: f.pop("trigger")), 0.9091, 0.9643, 0.8333, 0.9189, 0, 1),
    "foreach": (_edited(lambda f, s: s[1].update(definition="foreach")), 1.0, 1.0, 1, 1, 1, 0.6667),
    "create_record": (
        _edited(lambda f, s: s[3].update(definition="create_record")), 0.8333, 0.9655, 0.8333, 0.9459, 1, 0.6667),
    "IF un-nested": (_edited(lambda f, s: s[2].pop("block")), 0.8333, 0.9655, 0.8333, 0.973, 1, 1),
    "leaves swapped": (_edited(_swap), 0.8333, 0.931, 1, 1, 1, 1),
    "parts reordered": (_set(0, 1, "sys_created_onONYesterday^active=true"), 1.0, 1.0, 1, 1, 1, 1),
    "value wrong": (_set(0, 1, "active=false^sys_created_onONYesterday"), 1.0, 0.9828, 1, 0.973, 1, 1),
    "condition unparseable": (_set(0, 1, "blah"), 1.0, 0.8654, 1, 0.8108, 1, 1),
    "table wrong": (_set(0, 0, "incident"), 1.0, 0.9828, 1, 0.973, 1, 1),
    "inputs missing": (_edited(lambda f, s: [x.pop("inputs") for x in s]), 1.0, 0.4167, 1, 0.2162, 1, 1),
    "extra step": (
        _edited(lambda f, s: s.append({"category": "action", "definition": "log", "order": 6})),
        0.9231, 0.9831, 1, 1, 1, 0.8333),
    "invalid JSON": ('{"trigger": ', 0.0, 0.0345, 0, 0, 0, 0),
    "empty flow": ({"trigger": None, "components": []}, 0.0, 0.0345, 0, 0, 0, 0),
    "components no list": (_edited(lambda f, s: f.update(components="none")), 0.0, 0.0, 0, 0, 1, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str) -> None:
    candidate, *expected = GOLDEN[name]
    measured = [
        flow_similarity(candidate, REFERENCE, inputs=False),
        flow_similarity(candidate, REFERENCE),
        tree_bleu(candidate, REFERENCE, inputs=False),
        tree_bleu(candidate, REFERENCE),
        trigger_match(candidate, REFERENCE),
        component_match(candidate, REFERENCE),
    ]
    assert [round(value, 4) for value in measured] == expected


@pytest.mark.parametrize(
    "query",
    [
        "",
        "^EQ",
        "a to z",
        "blah",
        "active=true^EQ",
        "a=b=c",
        "u_FOO=1",
        "nameLIKEthis OR that",
        "priorityNSAMEASurgency",
    ],
)
def test_unreadable_queries(query: str) -> None:
    tree = query_tree(query)
    assert (tree.label, tree.children) == ("", [])


@pytest.mark.parametrize(
    ("query", "parts"),
    [
        ("active=true", "active(= true)"),
        ("a!=1^ORb>=2", "^OR(a(!= 1) b(>= 2))"),
        ("c=3^a=1^ORb=2", "^(a(= 1) ^OR(b(= 2) c(= 3)))"),
        ("nameNOT LIKEx^NQstateIN1,2", "^NQ(name(NOT LIKE x) state(IN 1,2))"),
        ("opened_atRELATIVEGT@dayofweek@ago@3", "opened_at(RELATIVEGT @dayofweek@ago@3)"),
        ("stateCHANGESTO6", "state(CHANGESTO 6)"),
        ("activeVALCHANGES", "active(VALCHANGES )"),
        # A bare OR splits.
        ("a=1ORb=2", "OR(a(= 1) b(= 2))"),
    ],
)
def test_readable_queries(query: str, parts: str) -> None:
    def spell(node: Node) -> str:
        held = " ".join(map(spell, node.children))
        return f"{node.label}({held})" if node.children else node.label

    assert spell(query_tree(query)) == parts


def test_subflow_items_are_leaves() -> None:
    flow: dict[str, Any] = {
        "trigger": None,
        "inputs": {"items": [{"name": "who", "type": "reference", "reference": "sys_user"}]},
        "outputs": {"items": [{"name": "done", "type": "boolean"}]},
        "components": [],
    }
    tree = flow_tree(flow)
    assert [node.label for node in tree.children] == ["trigger", "inputs", "outputs", "components"]
    assert [leaf.label for node in tree.children[1:3] for leaf in node.children] == [
        "who: reference [sys_user]",
        "done: boolean",
    ]
    renamed = deepcopy(flow)
    renamed["outputs"]["items"][0]["name"] = "finished"
    assert flow_similarity(renamed, flow) == 0.75


def test_empty_flows_are_equal() -> None:
    assert flow_similarity("nothing", "nothing either") == 1.0
    assert tree_bleu({}, {}) == component_match({}, {}) == trigger_match({}, {}) == 1.0


def test_score_never_falls_below_zero() -> None:
    """An input called like a free label costs more than it counts."""
    odd = {"components": [{"definition": "a", "order": 1, "inputs": [{"name": "flow", "value": n} for n in range(9)]}]}
    assert flow_similarity(odd, {"components": []}) == 0.0


# -- against zss -------------------------------------------------------------------------------

LABELS = st.sampled_from(
    ["", "inputs", "daily", "weekly", "action___a___global", "flowlogic___IF___global", "a: 1", "b"]
)
TREES = st.recursive(
    st.builds(Node, LABELS),
    lambda inner: st.builds(Node, LABELS, st.lists(inner, max_size=4)),
    max_leaves=12,
)


def _zss(first: Node, second: Node) -> float:
    def price(node: Node) -> int:
        return int(node.label != "" and node.label not in FREE_LABELS)

    def heavy(label: str) -> bool:
        return label in TRIGGER_TYPES or label.startswith(("action", "flowlogic", "subflow"))

    def replace(a: Node, b: Node) -> int:
        return 0 if a.label == b.label else 2 if heavy(a.label) or heavy(b.label) else 1

    return float(zss.distance(first, second, lambda node: node.children, price, price, replace))


@given(TREES, TREES)
@settings(max_examples=300, deadline=None)
def test_distance_is_that_of_zss(first: Node, second: Node) -> None:
    assert tree_distance(first, second) == _zss(first, second)


@pytest.mark.parametrize("name", [name for name in GOLDEN if name != "components no list"])
def test_distance_of_flows_is_that_of_zss(name: str) -> None:
    first, second = flow_tree(GOLDEN[name][0]), flow_tree(REFERENCE)
    assert tree_distance(first, second) == _zss(first, second)


# -- laws --------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["table", "conditions", "values", "flow", "items"]) | st.text(max_size=4)
QUERIES = st.text("abX=^<>!@ORNQEISMPTY{}. ", max_size=20)
INPUTS = st.lists(st.fixed_dictionaries({"name": NAMES, "value": QUERIES | VALUES}), max_size=3)
STEPS = st.fixed_dictionaries(
    {"definition": st.sampled_from(["log", "IF", "foreach"]), "order": st.integers(0, 6)},
    optional={
        "category": st.sampled_from(["action", "flowlogic", "subflow"]),
        "block": st.integers(0, 5) | st.none(),
        "scope": st.text(max_size=3),
        "inputs": INPUTS,
    },
)
FLOWS = st.fixed_dictionaries(
    {"components": st.lists(STEPS, max_size=6)},
    optional={"trigger": st.none() | st.fixed_dictionaries({"type": st.text(max_size=5), "inputs": INPUTS})},
)
ANYTHING: st.SearchStrategy[Any] = (
    FLOWS
    | VALUES
    | st.text(max_size=30)
    | st.fixed_dictionaries({"trigger": VALUES, "components": VALUES | st.lists(STEPS | VALUES, max_size=3)})
    | st.fixed_dictionaries({"inputs": VALUES, "outputs": VALUES, "components": st.lists(STEPS, max_size=2)})
)


@given(ANYTHING, ANYTHING)
@settings(max_examples=300, deadline=None)
def test_total_symmetric_and_in_range(first: Any, second: Any) -> None:
    for inputs in (True, False):
        score = flow_similarity(first, second, inputs)
        assert 0.0 <= score <= 1.0
        assert score == flow_similarity(second, first, inputs)
        assert 0.0 <= tree_bleu(first, second, inputs) <= 1.0
    for measure in (trigger_match, component_match):
        assert 0.0 <= measure(first, second) <= 1.0
        assert measure(first, second) == measure(second, first)


@given(FLOWS)
@settings(deadline=None)
def test_identity(flow: Any) -> None:
    """A flow that has a tree is like itself, as JSON and as text."""
    if flow_similarity(flow, flow) == 0.0:
        owners = [flow.get("trigger") or {}, *flow["components"]]
        values = [item["value"] for owner in owners for item in owner.get("inputs", [])]
        assert any(value is not None and not isinstance(value, str) for value in values)
    else:
        assert flow_similarity(flow, flow) == tree_bleu(flow, flow) == component_match(flow, flow) == 1.0
        assert flow_similarity(json.dumps(flow), flow) == 1.0


# -- sizes -------------------------------------------------------------------------------------


def _nested(depth: int, last: str = "log") -> dict[str, Any]:
    steps = [
        _step(i + 1, "IF", block=i or None, category="flowlogic", condition="{{trigger.current.active}}=true")
        for i in range(depth)
    ]
    return {"trigger": None, "components": [*steps, _step(depth + 1, last, block=depth)]}


def test_a_thousand_nested_blocks() -> None:
    flow, other = _nested(1000), _nested(1000, last="send_sms")
    assert flow_similarity(flow, flow) == 1.0
    assert round(flow_similarity(other, flow, inputs=False), 4) == round(1 - 2 / 2002, 4)
    assert flow_similarity("", flow) == 0.0


def test_nesting_with_inputs_is_read_from_the_cheaper_side() -> None:
    """From the left, these would be 4.8 billion cells."""
    flow, other = _nested(150), _nested(150, last="send_sms")
    assert flow_similarity(other, flow) == 1 - 2 / (2 * (150 * 4 + 1))


def test_a_long_query() -> None:
    query = "^".join(f"a{i}=1" for i in range(3000))
    flow = {"components": [_step(1, "look_up_records", conditions=query)]}
    assert flow_similarity(flow, flow) == 1.0


def test_too_large_says_so() -> None:
    def zigzag(depth: int, name: str) -> Any:
        steps, order, block = [], 0, None
        for _ in range(depth):
            steps += [_step(order + 1, name, block), _step(order + 2, "TRY", block, category="flowlogic"),
                      _step(order + 3, name, block)]  # fmt: skip
            order, block = order + 3, order + 2
        return {"components": steps}

    with pytest.raises(FlowError, match="too large to compare"):
        flow_similarity(zigzag(400, "log"), zigzag(400, "send_sms"))


def test_steps_that_share_orders_do_not_multiply_without_end() -> None:
    steps = [_step(i, "TRY", block=i - 1 or None, category="flowlogic") for i in range(1, 40) for _ in range(2)]
    assert flow_similarity({"components": steps}, REFERENCE) == 0.0


def test_values_that_cannot_be_read() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for value in (deep, 10**5000):
        flow = {"components": [{"definition": "log", "order": 1, "inputs": [{"name": "a", "value": value}]}]}
        assert flow_similarity(flow, flow) == 0.0
    assert flow_similarity("[" * 100_000, REFERENCE, inputs=False) == 0.0
