"""Every kind of issue, by hand and by mutation; what is drawn is valid; junk and huge flows are borne."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from strategies import instances_with_flows, instances_with_junk, mutations
from work import lines_run

from flowdsl.check import check_flow
from flowdsl.compile import compile_dsl
from flowdsl.decompile import decompile
from flowdsl.errors import KINDS, FlowIssue, InvalidFlow
from flowdsl.instance import Instance
from flowdsl.model import Flow

JSON = dict[str, Any]


# -- building by hand --------------------------------------------------------------------------


def step(definition: str, block: int | None = None, /, **inputs: Any) -> JSON:
    logic = definition.isupper()
    data: JSON = {"category": "flowlogic" if logic else "action", "definition": definition, "scope": "global"}
    if block is not None:
        data["block"] = block
    return {**data, "inputs": [{"name": name, "value": value} for name, value in inputs.items()]}


def flow(*steps: JSON, trigger: JSON | None = None, **more: Any) -> JSON:
    return {"trigger": trigger, "components": [{"order": i, **item} for i, item in enumerate(steps, 1)], **more}


def on(type_: str, **inputs: str) -> JSON:
    return {"type": type_, "inputs": [{"name": name, "value": value} for name, value in inputs.items()]}


DAILY = on("daily", time="1970-01-01 07:00:00")
UPDATED = on("record_update", table="incident")
FIND = step("look_up_records", table="incident")
LOG = step("log")
HOLD = step("placeholder")


def look(conditions: str, **more: str) -> JSON:
    return step("look_up_records", table="incident", conditions=conditions, **more)


def inside(item: JSON, block: int) -> JSON:
    return {**item, "block": block}


def yes(block: int | None = None, kind: str = "IF", pill: str = "1.Count") -> JSON:
    return step(kind, block, condition=f"{{{{{pill}}}}}>0")


def found(data: Any, instance: Instance) -> set[tuple[str, int | str]]:
    return {(issue.kind, issue.where) for issue in check_flow(data, instance)}


#: kind, flow, where: everything else about these flows is right, unless `more` names what comes with it.
CASES: list[tuple[str, Any, int | str]] = [
    ("syntax", 7, "flow"),
    ("syntax", {"trigger": None, "components": "log"}, "flow"),
    ("syntax", {"trigger": None, "components": ["log"]}, "flow"),
    ("syntax", flow({**LOG, "inputs": "x"}), 1),
    ("syntax", flow({**LOG, "inputs": ["x"]}), 1),
    ("syntax", flow({**LOG, "annotation": 7}), 1),
    ("syntax", flow(LOG, inputs=[], outputs={"items": []}), "flow"),
    ("syntax", flow(LOG, inputs={"items": [{"name": "x"}]}, outputs={"items": []}), "flow"),
    ("unknown_trigger", flow(LOG, trigger=on("at_full_moon")), "trigger"),
    ("unknown_trigger", flow(LOG, trigger={"inputs": []}), "trigger"),
    ("unknown_step", flow(LOG, step("fly")), 2),
    ("unknown_step", flow(step("DECISION")), 1),
    ("unknown_step", flow({"category": "action"}), 1),
    ("unknown_step", flow(step("")), 1),  # an empty definition is no issue at all
    ("unknown_input", flow(step("log", volume="11")), 1),
    ("unknown_input", flow(LOG, trigger={**DAILY, "inputs": [*DAILY["inputs"], {"name": "x", "value": "y"}]}), "trigger"),
    ("unknown_input", flow(step("placeholder", x="y")), 1),
    ("unknown_input", flow(step("END", x="y")), 1),
    ("unknown_input", flow(step("TIMER", duration_type="explicit_duration", duration="1970-01-02 00:00:00",
                                percentage="5")), 1),
    ("duplicate_input", flow({**LOG, "inputs": [{"name": "log_message", "value": "a"}] * 2}), 1),
    ("duplicate_input", flow(LOG, inputs={"items": [{"name": "x", "type": "string"}] * 2}, outputs={"items": []}), "flow"),
    ("missing_input", flow(LOG, trigger=on("daily")), "trigger"),
    ("missing_input", flow(step("send_sms", recipients="x")), 1),
    ("missing_input", flow(step("send_sms", recipients="x", message="")), 1),
    ("missing_input", flow(FIND, step("IF"), inside(LOG, 2)), 2),
    ("missing_input", flow(step("TIMER", duration_type="percentage_duration", percentage="5")), 1),
    ("unknown_table", flow(step("look_up_records", table="unicorn")), 1),
    ("unknown_table", flow(LOG, inputs={"items": [{"name": "x", "type": "record", "reference": "unicorn"}]},
                           outputs={"items": []}), "flow"),
    ("unknown_column", flow(look("colour=red")), 1),
    ("unknown_column", flow(look("caller_id.colour=red")), 1),
    ("unknown_column", flow(look("active=true", sort_column="colour")), 1),
    ("unknown_column", flow(step("create_record", table_name="incident", values="colour=red")), 1),
    ("unknown_column", flow(step("create_record", table_name="incident", values="caller_id.name=red")), 1),
    ("unknown_column", flow(FIND, look("{{1.Count}}=1")), 2),
    ("unknown_column", flow(FIND, step("IF", condition="active=true"), inside(LOG, 2)), 2),
    ("unknown_choice", flow(step("log", log_level="shout")), 1),
    ("unknown_choice", flow(look("state=Resolved")), 1),
    ("unknown_choice", flow(look("stateIN6,Resolved")), 1),
    ("bad_value", flow(LOG, trigger=on("daily", time="07:00")), "trigger"),
    ("bad_value", flow(LOG, trigger=on("monthly", time="1970-01-01 07:00:00", day_of_month="first")), "trigger"),
    ("bad_value", flow(LOG, trigger=on("repeat", repeat="10 days")), "trigger"),
    ("bad_value", flow(LOG, trigger=on("run_once", run_in="2024-02-30 00:00:00")), "trigger"),
    ("bad_value", flow(step("delete_record", record="the first one")), 1),
    ("bad_value", flow(step("create_task", task_table="task", wait="maybe")), 1),
    ("bad_value", flow(step("log", log_message=7)), 1),
    ("bad_value", flow(step("log", log_message="a\x00b")), 1),
    ("bad_value", flow(look("active")), 1),
    ("bad_value", flow(look("active=true^")), 1),
    ("bad_value", flow(look("^active=true")), 1),
    ("bad_value", flow(look("short_description==x")), 1),
    ("bad_value", flow(look("short_description=>x")), 1),
    ("bad_value", flow(look("opened_atONtoday")), 1),
    ("bad_value", flow(look("opened_atRELATIVELT@fortnight@ago@1")), 1),
    ("bad_operator", flow(look("activeSTARTSWITHt")), 1),
    ("bad_operator", flow(look("activeCHANGESTOfalse")), 1),
    ("bad_operator", flow(LOG, trigger=on("record_create", table="incident", condition="stateCHANGESTO6")), "trigger"),
    ("bad_operator", flow(step("create_record", table_name="incident", values="active!=true")), 1),
    ("bad_operator", flow(step("create_record", table_name="incident", values="active=true^ORpriority=1")), 1),
    ("unknown_pill", flow(FIND, step("log", log_message="{{1.Colour}}")), 2),
    ("unknown_pill", flow(step("log", log_message="{{trigger.current}}")), 1),
    ("unknown_pill", flow(step("log", log_message="{{7.Count}}")), 1),
    ("unknown_pill", flow(step("log", log_message="{{colour}}")), 1),
    ("unknown_pill", flow(step("log", log_message="{{}}")), 1),
    ("unknown_pill", flow(step("log", log_message="so {{1.Count} far")), 1),
    ("unknown_pill", flow(step("log", log_message="{{trigger.current.colour}}"), trigger=UPDATED), 1),
    ("unknown_pill", flow(step("log", log_message="{{trigger.current.number.x}}"), trigger=UPDATED), 1),
    ("unknown_pill", flow(FIND, step("log", log_message="{{1.Records.number}}")), 2),
    ("pill_out_of_scope", flow(step("log", log_message="{{2.Count}}"), FIND), 1),
    ("pill_out_of_scope", flow(step("log", log_message="{{1.x}}")), 1),
    ("pill_out_of_scope", flow(FIND, yes(), inside(FIND, 2), step("log", log_message="{{3.Count}}")), 4),
    ("pill_out_of_scope", flow(FIND, step("FOREACH", items="{{1.Records}}"), inside(LOG, 2),
                               step("log", log_message="{{2.item.number}}")), 4),
    ("pill_out_of_scope", flow(FIND, yes(), inside(FIND, 2), step("ELSE"), step("log", 4, log_message="{{3.Count}}")), 5),
    ("pill_out_of_scope", flow(step("PARALLEL"), step("PARALLEL_BRANCH", 1), inside(FIND, 2),
                               step("PARALLEL_BRANCH", 1), step("log", 4, log_message="{{3.Count}}")), 5),
    ("pill_type", flow(step("log", log_message="{{trigger.current}}"), trigger=UPDATED), 1),
    ("pill_type", flow(FIND, step("log", log_message="all: {{1.Records}}")), 2),
    ("pill_type", flow(FIND, step("create_record", table_name="incident", values="active={{1.Count}}")), 2),
    ("pill_type", flow(look("caller_id={{trigger.current}}"), trigger=UPDATED), 1),
    ("pill_type", flow(step("delete_record", record="{{trigger.run_start_time}}"), trigger=UPDATED), 1),
    ("not_a_list", flow(step("FOREACH", items="{{trigger.current}}"), inside(LOG, 1), trigger=UPDATED), 1),
    ("not_a_list", flow(step("FOREACH", items="all"), inside(LOG, 1)), 1),
    ("else_without_if", flow(LOG, step("ELSE"), inside(LOG, 2)), 2),
    ("else_without_if", flow(FIND, yes(kind="ELSEIF"), inside(LOG, 2)), 2),
    ("else_without_if", flow(FIND, yes(), inside(LOG, 2), LOG, step("ELSE"), inside(LOG, 5)), 5),
    ("else_without_if", flow(FIND, yes(), inside(LOG, 2), step("ELSE"), inside(LOG, 4), step("ELSE"), inside(LOG, 6)), 6),
    ("else_without_if", flow(FIND, yes(), inside(LOG, 2), step("ELSE", 2), inside(LOG, 4)), 4),
    ("catch_without_try", flow(step("CATCH"), inside(LOG, 1)), 1),
    ("catch_without_try", flow(step("TRY"), inside(LOG, 1), step("CATCH"), inside(LOG, 3), step("CATCH"), inside(LOG, 5)), 5),
    ("try_without_catch", flow(step("TRY"), inside(LOG, 1)), 1),
    ("try_without_catch", flow(step("TRY"), inside(LOG, 1), LOG, step("CATCH"), inside(LOG, 4)), 1),
    ("parallel_branches", flow(step("PARALLEL")), 1),
    ("parallel_branches", flow(step("PARALLEL"), step("PARALLEL_BRANCH", 1), inside(LOG, 2)), 1),
    ("parallel_branches", flow(step("PARALLEL"), inside(LOG, 1), inside(LOG, 1)), 2),
    ("parallel_branches", flow(step("PARALLEL_BRANCH"), inside(LOG, 1)), 1),
    ("break_outside_loop", flow(step("BREAK")), 1),
    ("break_outside_loop", flow(FIND, step("FOREACH", items="{{1.Records}}"), step("BREAK", 2)), 3),
    ("break_outside_loop", flow(FIND, yes(), step("CONTINUE", 2)), 3),
    ("break_outside_loop", flow(FIND, yes(), step("FOREACH", 2, items="{{1.Records}}"), step("BREAK", 3)), 4),
    ("after_end", flow(step("END"), LOG), 2),
    ("after_end", flow(FIND, yes(), step("END", 2), inside(LOG, 2)), 4),
    ("goback_target", flow(LOG, step("GOBACKTO", step="1")), 2),
    ("goback_target", flow(FIND, yes(), step("GOBACKTO", 2, step="3")), 3),
    ("goback_target", flow(FIND, yes(), inside(LOG, 2), step("GOBACKTO", 2, step="3")), 4),
    ("goback_target", flow(FIND, yes(), inside(LOG, 2), step("ELSE"), step("GOBACKTO", 4, step="3")), 5),
    ("goback_target", flow(FIND, yes(), step("GOBACKTO", 2, step="first")), 3),
    ("goback_target", flow(FIND, step("PARALLEL"), step("PARALLEL_BRANCH", 2), inside(yes(), 3),
                           step("GOBACKTO", 4, step="1"), step("PARALLEL_BRANCH", 2), inside(LOG, 6)), 5),
    ("sla_timer_outside_sla_flow", flow(step("sla_percentage_timer", percentage="50"), trigger=DAILY), 1),
    ("sla_timer_outside_sla_flow", flow(step("sla_percentage_timer", percentage="50")), 1),
    ("sla_timer_order", flow(step("sla_percentage_timer", percentage="75"), step("sla_percentage_timer", percentage="50"),
                             trigger=on("sla_task")), 2),
    ("sla_timer_order", flow(step("sla_percentage_timer", percentage="75"), step("sla_percentage_timer", percentage="75"),
                             trigger=on("sla_task")), 2),
    ("catalog_table_trigger", flow(LOG, trigger=on("record_create", table="sc_req_item")), "trigger"),
    ("wait_dotwalk", flow(step("wait_for_condition", table_name="incident", record="{{trigger.current}}",
                               conditions="caller_id.active=true"), trigger=UPDATED), 1),
    ("duplicate_field", flow(step("create_record", table_name="incident", values="impact=1^impact=2")), 1),
    ("table_mismatch", flow(step("update_record", table_name="problem", record="{{trigger.current}}", values="active=true"),
                            trigger=UPDATED), 1),
    ("wrong_scope", flow({**LOG, "scope": "x_app"}), 1),
    ("wrong_scope", flow({**step("END"), "scope": "x_app"}), 1),
    ("wrong_scope", flow({**LOG, "scope": 7}), 1),
    ("wrong_category", flow({**LOG, "category": "subflow"}), 1),
    ("wrong_category", flow({**LOG, "category": "thing"}), 1),
    ("wrong_category", flow({**HOLD, "category": "subflow"}), 1),
    ("trigger_pill", flow(LOG, trigger=on("record_update", table="incident", condition="caller_id={{trigger.current}}")), "trigger"),
    ("trigger_pill", flow(LOG, trigger=on("daily", time="{{trigger.run_start_time}}")), "trigger"),
    ("empty_block", flow(FIND, yes()), 2),
    ("empty_block", flow(FIND, step("FOREACH", items="{{1.Records}}"), LOG), 2),
    ("empty_block", flow(step("TRY"), step("CATCH"), inside(LOG, 2)), 1),
    ("order", flow({**LOG, "order": 2}), 2),
    ("order", flow({**LOG, "order": "first"}), 1),
    ("order", flow({**LOG, "order": True}), 1),
    ("order", flow(LOG, {**LOG, "order": 1}), 1),
    ("order", flow(FIND, yes(), inside(LOG, 2), LOG, inside(LOG, 2)), 5),
    ("block", flow(LOG, inside(LOG, 1)), 2),
    ("block", flow(inside(LOG, 9)), 1),
    ("block", flow(inside(LOG, 1)), 1),
    ("block", flow({**LOG, "block": "1"}), 1),
    ("trigger_count", flow(LOG, trigger=[DAILY, DAILY]), "trigger"),  # type: ignore[arg-type]
    ("trigger_count", flow(LOG, trigger=DAILY, inputs={"items": []}, outputs={"items": []}), "trigger"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "data", "where"), CASES, ids=[f"{i}-{case[0]}" for i, case in enumerate(CASES)])
def test_by_hand(kind: str, data: Any, where: int | str, servicenow: Instance) -> None:
    assert (kind, where) in found(data, servicenow)


def test_every_kind_has_a_case() -> None:
    assert {kind for kind, _, _ in CASES} == KINDS


VALID: list[JSON] = [
    flow(LOG, trigger=DAILY),
    flow(HOLD),
    flow(),
    flow(look("assigned_to={{trigger.current}}"), step("FOREACH", items="{{1.Records}}"),
         step("update_record", 2, table_name="incident", record="{{2.item}}", values="assigned_to={{trigger.current.manager}}"),
         trigger=on("record_update", table="sys_user", condition="activeCHANGESTOfalse")),
    # outputs of TRY and of a finished PARALLEL stay visible
    flow(step("TRY"), inside(FIND, 1), step("CATCH"), step("log", 3, log_message="{{2.Count}}"),
         step("log", log_message="{{2.Count}}")),
    flow(step("PARALLEL"), step("PARALLEL_BRANCH", 1), inside(FIND, 2), step("PARALLEL_BRANCH", 1), inside(FIND, 4),
         step("log", log_message="{{3.Count}} {{5.Count}}")),
    # DOUNTIL looks at its own body
    flow(step("DOUNTIL", conditions="{{2.Count}}=0"), inside(FIND, 1)),
    flow(FIND, step("FOREACH", items="{{1.Records}}"), inside(yes(), 2), step("BREAK", 3), step("ELSE", 2), step("CONTINUE", 5)),
    flow(FIND, yes(), step("GOBACKTO", 2, step="1")),
    flow(step("sla_percentage_timer", percentage="50"), step("sla_percentage_timer", percentage="75"), trigger=on("sla_task")),
    flow(step("log", log_message="SLA breached for {{trigger.task_sla_record.task.number}}"), trigger=on("sla_task")),
    flow(look("sys_id={{trigger.current}}"), trigger=UPDATED),
    flow(look("active=true^ORstate=6^NQcaller_id.manager.active=false")),
    flow(look("state=6"), step("update_multiple_records", table_name="incident", conditions="active=true",
                               field_values="description={{1.Count}}^assignment_group=Service Desk")),
    flow(step("ask_for_approval", table="change_request", record="{{trigger.current}}",
              approval_conditions="ApprovesAnyU[{{trigger.current.requested_by.manager}}]"),
         trigger=on("record_create", table="change_request")),
    flow(step("create_catalog_task", ah_requested_item="{{trigger.request_item}}", ah_fields="short_description=x"),
         trigger=on("service_catalog")),
    flow(step("log", log_message="{ } }} a{b"), step("log", log_message="")),
]  # fmt: skip


@pytest.mark.parametrize("data", VALID, ids=range(len(VALID)))
def test_valid_by_hand(data: JSON, servicenow: Instance) -> None:
    assert check_flow(data, servicenow) == []
    assert check_flow(Flow.from_json(data), servicenow) == []


# -- where the contract is explicit ------------------------------------------------------------


# Kinds table, field, conditions, template and approval.
# "every pill takes ISEMPTY/ISNOTEMPTY"
@pytest.mark.parametrize("pill", ["table_name", "current", "current.number", "current.active", "changed_fields",
                                  "run_start_time", "current.caller_id", "current.sys_id"])  # fmt: skip
@pytest.mark.parametrize("operator", ["ISEMPTY", "ISNOTEMPTY"])
def test_every_pill_takes_isempty(pill: str, operator: str, servicenow: Instance) -> None:
    data = flow(step("IF", condition=f"{{{{trigger.{pill}}}}}{operator}"), inside(LOG, 1), trigger=UPDATED)
    assert check_flow(data, servicenow) == []


# Columns of type table_name, field_name, conditions and template_value can be compared and set.
@pytest.mark.parametrize(
    "column", ["string", "table_name", "field_name", "conditions", "template_value", "never_heard_of"]
)
def test_a_column_of_any_type_can_be_compared(column: str) -> None:
    find = {"name": "find", "inputs": [{"name": "table", "type": "table_name"}, {"name": "conditions", "type": "conditions"},
                                       {"name": "values", "type": "template_value"}]}  # fmt: skip
    table = {"name": "thing", "columns": [{"name": "c", "type": column}]}
    instance = Instance.from_json({"name": "t", "steps": [find], "tables": [table]})
    data = flow(step("find", table="thing", conditions="c=thing^cISEMPTY", values="c=thing"))
    assert check_flow(data, instance) == []


@pytest.mark.parametrize(
    "condition",
    [
        "opened_atRELATIVELT@hour@ago@3",
        "opened_atRELATIVEGT@minute@ago@15",
        "opened_atRELATIVELT@dayofweek@ago@5",
        "opened_atRELATIVELT@month@ago@1",
        "opened_atRELATIVELT@year@ago@1",
        "opened_at<javascript:gs.beginningOfToday()",
        "opened_at>javascript:gs.endOfToday()",
        "opened_atONToday@javascript:gs.beginningOfToday()@javascript:gs.endOfToday()",
        *(f"opened_atON{which} {unit}@javascript:gs.beginningOf{which}{unit.title()}()@javascript:gs.endOf{which}{unit.title()}()"
          for which in ("This", "Last", "Next") for unit in ("week", "month", "year")),
    ],
)  # fmt: skip
def test_documented_operands(condition: str, servicenow: Instance) -> None:
    assert check_flow(flow(look(condition)), servicenow) == []


def test_a_span_of_another_form_is_no_span(servicenow: Instance) -> None:
    """There is one spelling."""
    assert found(flow(look("opened_atRELATIVELThour@ago@3")), servicenow) == {("bad_value", 1)}


@pytest.mark.parametrize("pill", ["{{01.Count}}", "{{0001.Count}}"])
def test_an_order_has_one_spelling(pill: str, servicenow: Instance) -> None:
    """`{{01.Count}}` is not taken for `{{1.Count}}`: a spelling that no platform knows."""
    assert ("unknown_pill", 2) in found(flow(FIND, step("log", log_message=pill)), servicenow)


def test_a_goback_step_has_one_spelling(servicenow: Instance) -> None:
    """A `step` "01" does not pass."""
    assert ("goback_target", 3) in found(flow(FIND, yes(), step("GOBACKTO", 2, step="01")), servicenow)


# -- drawn -------------------------------------------------------------------------------------


@given(instances_with_flows(canonical=False, annotated=False, size=20))
def test_what_is_drawn_is_valid(drawn: tuple[Instance, JSON]) -> None:
    instance, data = drawn
    assert check_flow(data, instance) == []
    assert check_flow(Flow.from_json(data), instance) == []


@given(instances_with_flows(size=8))
def test_every_mutation_is_found(drawn: tuple[Instance, JSON]) -> None:
    instance, data = drawn
    for broken, kind in mutations(data, instance):
        issues = check_flow(broken, instance)
        assert kind in {issue.kind for issue in issues}, broken
        assert all(issue.kind in KINDS for issue in issues)


@given(instances_with_junk())
def test_junk_never_raises(drawn: tuple[Instance, Any]) -> None:
    instance, junk = drawn
    issues = check_flow(junk, instance)
    assert all(isinstance(issue, FlowIssue) and issue.kind in KINDS and issue.message for issue in issues)
    assert all(isinstance(issue.where, int) or issue.where in {"trigger", "flow"} for issue in issues)


@pytest.mark.parametrize("reference", [7, True, [], {"a": 1}, "\ud800"])
def test_the_table_of_a_declared_item_is_text(reference: Any, servicenow: Instance) -> None:
    items = {"items": [{"name": "who", "type": "reference", "reference": reference}]}
    subflow = {"trigger": None, "inputs": items, "outputs": {"items": []}, "components": []}
    assert ("syntax", "flow") in found(subflow, servicenow)


@given(instances_with_junk())
def test_what_has_no_issue_is_a_flow(drawn: tuple[Instance, Any]) -> None:
    """No issue means: it can be read, written as DSL and compiled to the same flow.

    Unknown keys have a test of their own: test_unknown_keys_are_an_issue_or_are_read.
    """
    instance, junk = drawn
    if not check_flow(junk, instance):
        try:
            read = Flow.from_json(junk)
        except InvalidFlow as error:
            assert all("Extra inputs" in issue.message for issue in error.errors)
            return
        if (read.inputs is None) == (read.outputs is None):  # else see test_roundtrip, subflow with inputs only
            assert compile_dsl(decompile(read, instance), instance) == read


@pytest.mark.parametrize(
    "data",
    [
        {**flow(LOG), "name": "x"},
        flow({**LOG, "position": 7}),
        flow({**LOG, "inputs": [{"name": "log_message", "value": "x", "label": "y"}]}),
        flow(LOG, trigger={**DAILY, "label": "y"}),
    ],
)
def test_unknown_keys_are_an_issue_or_are_read(data: JSON, servicenow: Instance) -> None:
    """Check_flow finds nothing, Flow.from_json refuses."""
    if not check_flow(data, servicenow):
        Flow.from_json(data)


# -- size --------------------------------------------------------------------------------------


def _nested(kind: str, n: int) -> JSON:
    inputs = {"IF": {"condition": "{{1.Count}}>0"}, "FOREACH": {"items": "{{1.Records}}"}}.get(kind, {})
    blocks = [step(kind, i + 1 if i else None, **inputs) for i in range(n)]
    return flow(FIND, *blocks, step("log", n + 1, log_message="{{1.Count}}"))


def _cycle(n: int) -> JSON:
    return flow(*(step("IF", (i + 1) % n + 1, condition="a=b") for i in range(n)))


def _deep_pills(n: int) -> JSON:
    """Half of the steps are nested TRYs, the other half use the output of the innermost."""
    half = n // 2
    tries = [step("TRY", i or None) for i in range(half)]
    uses = [step("log", log_message=f"{{{{{half + 1}.Count}}}}") for _ in range(half)]
    return flow(*tries, inside(FIND, half), *uses)


def _gobacks(n: int) -> JSON:
    steps = [FIND]
    while len(steps) < n:
        steps += [yes(), step("GOBACKTO", len(steps) + 1, step="1")]
    return flow(*steps)


def _branches(n: int) -> JSON:
    steps = [step("PARALLEL")]
    while len(steps) < n:
        steps += [step("PARALLEL_BRANCH", 1), step("log", len(steps) + 1)]
    return flow(*steps)


def _subflow(n: int) -> JSON:
    items = {"items": [{"name": f"i{i}", "type": "string"} for i in range(n)]}
    return flow(
        *(step("log", log_message=f"{{{{inputs.i{i}}}}}") for i in range(n)), inputs=items, outputs={"items": []}
    )


def _walk(n: int) -> JSON:
    pill = "{{1.Record" + ".manager" * n + ".name}}"
    return flow(step("look_up_record", table="sys_user"), step("log", log_message=pill))


HUGE: dict[str, Callable[[int], JSON]] = {
    "flat": lambda n: flow(*[LOG] * n),
    "flat with pills": lambda n: flow(FIND, *[step("log", log_message="{{1.Count}}")] * n),
    "nested IF": lambda n: _nested("IF", n),
    "nested FOREACH": lambda n: _nested("FOREACH", n),
    "nested TRY": lambda n: _nested("TRY", n),
    "nested DOUNTIL": lambda n: _nested("DOUNTIL", n),
    "cycle": _cycle,
    "same order": lambda n: {"trigger": None, "components": [{**LOG, "order": 1}] * n},
    "pill": _walk,
    "query": lambda n: flow(look("^".join(["active=true"] * n))),
    "query with OR": lambda n: flow(look("^OR".join(["caller_id.manager.name=x"] * n))),
    "walk in a query": lambda n: flow(step("look_up_records", table="sys_user", conditions="manager." * n + "name=x")),
    "wrong walk in a query": lambda n: flow(
        step("look_up_records", table="sys_user", conditions="manager." * n + "nam")
    ),
    "no operator": lambda n: flow(look("x" * n)),
    "capitals": lambda n: flow(look("A." * n)),
    "list": lambda n: flow(look("stateIN" + ",".join("1" * n))),
    "text": lambda n: flow(FIND, step("log", log_message="{{1.Count}} " * n)),
    "braces": lambda n: flow(step("log", log_message="{" * n + "}" * n)),
    "template": lambda n: flow(step("create_record", table_name="incident", values="^".join(["impact=1"] * n))),
    "unknown inputs": lambda n: flow(step("log", **{f"n{i}": "x" for i in range(n)})),
    "branches": _branches,
    # Once more than linear.
    "pills out of nested TRYs": _deep_pills,  # Scope.sees walks up from the pill's step each time
    "many GOBACKTO": _gobacks,  # goback_targets lists all siblings for each
    "subflow inputs": _subflow,  # Scope.resolve makes Fields of all items, and sorts them, for each pill
}


_DENSE = {"pills out of nested TRYs", "many GOBACKTO", "subflow inputs"}


@pytest.mark.parametrize("name", HUGE)
def test_work_is_about_linear(name: str, servicenow: Instance) -> None:
    """Eight times the size runs at most 20 times as many lines, not 64 times."""
    check_flow(flow(FIND), servicenow)
    small = {"subflow inputs": 40}.get(name, 150 if name in _DENSE else 300)
    few, many = (HUGE[name](n) for n in (small, 8 * small))
    assert lines_run(lambda: check_flow(many, servicenow)) < 20 * lines_run(lambda: check_flow(few, servicenow))


@pytest.mark.parametrize("name", sorted(HUGE.keys() - _DENSE))
def test_ten_thousand(name: str, servicenow: Instance) -> None:
    """No recursion limit, no crash."""
    issues = check_flow(HUGE[name](10_000), servicenow)
    assert all(issue.kind in KINDS for issue in issues)


@pytest.mark.parametrize("name", ["nested IF", "flat with pills", "pill", "query"])
def test_large_flows_survive_the_dsl(name: str, servicenow: Instance) -> None:
    data = HUGE[name](1000)
    read = Flow.from_json(data)
    assert compile_dsl(decompile(read, servicenow), servicenow) == read


def test_a_message_stays_short(servicenow: Instance) -> None:
    """A message quotes the whole value, however long; one line an error is for people."""
    for name in ("walk in a query", "no operator"):
        data = HUGE[name](10_000) if name == "no operator" else flow(look("caller_id=x^" + "y" * 10_000 + "=1"))
        assert all(len(issue.message) < 500 for issue in check_flow(data, servicenow))
