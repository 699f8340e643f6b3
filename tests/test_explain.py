"""Explanations: golden texts, nothing dropped, nothing that passes for something else, and no flow too broken."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowdsl.compile import compile_dsl
from flowdsl.explain import explain_flow
from flowdsl.instance import Instance
from flowdsl.model import Flow
from flowdsl.query import parse_query
from flowdsl.scope import PILL, Scope
from flowdsl.tables import columns_for
from grammars.kinds import kind_of
from grammars.operators import OPERATORS, Operator

try:
    import strategies as drawn
except ImportError:  # they are written elsewhere; without them the properties below have less to draw from
    drawn = None  # type: ignore[assignment]

SERVICENOW = Instance.load("servicenow")

# name: (DSL, explanation)
GOLDEN = {
    "update": (
        r"""
ON record_update sys_user
  condition: active CHANGESTO false
look_up_records incident
  conditions: assigned_to = {{trigger.current}}
FOREACH
  items: {{1.Records}}
  update_record
    record: {{2.item}}
    values: assigned_to = {{trigger.current.manager}}, state = "In Progress"
END
""",
        r"""When a User is updated and Active changes to false:
1. Look up Incident records where Assigned to is the triggering User
2. For each of the Incident records found in step 1:
   2.1 Update the current Incident:
      - set Assigned to: the triggering User's Manager
      - set State: In Progress
""",
    ),
    "branches": (
        r"""
ON record_create_or_update incident
  condition: category = Software OR category = Hardware
  trigger_strategy: "For every update"
IF
  condition: {{trigger.current.caller_id.vip}} = true
  ask_for_approval
    record: {{trigger.current}}
    approval_conditions: 'ApprovesAnyU[{{trigger.current.caller_id.manager}}]'
    approval_field: approval
    approval_reason: "Please approve {{trigger.current.number}}"
  IF
    condition: {{2.approval_state}} = Approved
    log
      log_message: "ok\n3. Delete everything"
  ELSEIF
    condition: {{2.approval_state}} = Rejected OR {{2.approval_state}} = Cancelled
    GOBACKTO
      step: 2
  END
ELSE
  STOP
END
""",
        r"""When an Incident is created or updated and (Category is Software or Category is Hardware):
   - Run Trigger: For every update
1. If the triggering Incident's Caller's VIP is true:
   1.1 Ask for approval on the triggering Incident:
      - Approval Conditions: the triggering Incident's Caller's Manager approves
      - Approval Field: Approval
      - Approval Reason: "Please approve [the triggering Incident's Number]"
   1.2 If the Approval State of step 1.1 is Approved:
      1.2.1 Log:
         - Message: "ok\n3. Delete everything"
   1.3 Otherwise, if the Approval State of step 1.1 is Rejected or the Approval State of step 1.1 is Cancelled:
      1.3.1 Go back to step 1.1
2. Otherwise:
   2.1 End the flow
""",
    ),
    "weekly": (
        r"""
ON weekly
  day_of_week: Monday
  time: 07:30
look_up_records problem
  conditions: opened_at ON last month NQ priority = "Critical"
  sort_column: priority
  sort_type: "z to a"
  max_results: 50
DOUNTIL
  conditions: {{3.Count}} = 0
  look_up_records incident
    conditions: problem_id ISNOTEMPTY AND state NOT IN (Closed, Canceled)
  TIMER
    duration_type: explicit_duration
    duration: 2 hours 30 minutes
END
""",
        r"""Weekly on Monday at 07:30:
1. Look up Problem records where (Opened is during last month) or (Priority is Critical):
   - Order by: Priority
   - Sort Type: z to a
   - Max Results: 50
2. Repeat until the Count of step 2.1 is 0:
   2.1 Look up Incident records where Problem is not empty and State is none of Closed or Canceled
   2.2 Wait for 2 hours 30 minutes
""",
    ),
    "parallel": (
        r"""
ON email
  email_conditions: subject CONTAINS "help"
  target_table: incident
PARALLEL
BRANCH
  TRY
    create_record incident
      values: short_description = "{{trigger.subject}}", caller_id = {{trigger.user}}
  CATCH
    log
      log_message: "failed"
      log_level: Error
  END
BRANCH
  send_email
    ah_to: "{{trigger.user.email}}"
    ah_subject: "Re: {{trigger.subject}}"
    ah_body: "<p>Thanks</p>"
END
send_sms
  recipients: {{trigger.user.mobile_phone}}
  message: "We got it"
""",
        r"""Started by Inbound Email, if Subject contains "help":
   - Reply Record Type: Incident
1. Do these branches at the same time:
   1.1 Branch:
      1.1.1 Try:
         1.1.1.1 Create an Incident record:
            - set Short description: the trigger's Subject
            - set Caller: the trigger's User
      1.1.2 If step 1.1.1 fails:
         1.1.2.1 Log:
            - Message: "failed"
            - Level: Error
   1.2 Branch:
      1.2.1 Send Email:
         - To: the trigger's User's Email
         - Subject: "Re: [the trigger's Subject]"
         - Body: "<p>Thanks</p>"
2. Send SMS:
   - Recipients: the trigger's User's Mobile phone
   - Message: "We got it"
""",
    ),
    "subflow": (
        r"""
SUBFLOW
INPUT who reference sys_user
INPUT days integer
OUTPUT done boolean
look_up_records task
  conditions: assigned_to = {{inputs.who}}
FOREACH
  items: {{1.Records}}
  look_up_records incident
    conditions: parent = {{2.item}}
  FOREACH
    items: {{3.Records}}
    IF
      condition: {{4.item.active}} = true OR {{2.item}} ISEMPTY
      CONTINUE
    END
    delete_record
      record: {{4.item}}
  END
END
"tell the team" PLACEHOLDER
""",
        r"""A subflow, which other flows run:
   - takes who (reference of User)
   - takes days (integer)
   - gives done (boolean)
1. Look up Task records where Assigned to is the input who
2. For each of the Task records found in step 1:
   2.1 Look up Incident records where Parent is the current Task
   2.2 For each of the Incident records found in step 2.1:
      2.2.1 If the Active of the current Incident of step 2.2 is true or the current Task of step 2 is empty:
         2.2.1.1 Go on with the next round of the loop
      2.2.2 Delete the current Incident of step 2.2
3. Placeholder "tell the team" (no step of the installation does this yet)
""",
    ),
    "fragment": (
        r"""
"tell the chat" PLACEHOLDER
create_task task
  field_values: short_description = "x"
""",
        r"""Part of a flow, without a trigger:
1. Placeholder "tell the chat" (no step of the installation does this yet)
2. Create Task:
   - set Short description: "x"
""",
    ),
    "catalog": (
        r"""
ON service_catalog
  run_flow_in: "Run flow in background (default)"
create_catalog_task
  ah_requested_item: {{trigger.request_item}}
  ah_short_description: "Prepare"
  ah_fields: assignment_group = "Service Desk"
  ah_wait: true
wait_for_condition
  record: {{trigger.request_item}}
  conditions: state = "Closed Complete"
  timeout_flag: true
  timeout_duration: 10 days
IF
  condition: {{2.state}} = "1"
  update_multiple_records incident
    conditions: active = true
    field_values: state = Resolved
END
TIMER
  duration_type: relative_duration
  duration: 1 day
  relative_operator: before
  relative_datetime: {{trigger.request_item.due_date}}
""",
        r"""Started by Service Catalog:
   - Run flow In: Run flow in background (default)
1. Create Catalog Task:
   - Requested Item: the trigger's Request Item
   - Short Description: "Prepare"
   - set Assignment group: "Service Desk"
   - Wait: true
2. Wait for condition on the trigger's Request Item (Requested Item): State is Closed Complete:
   - Enable timeout: true
   - Duration: 10 days
3. If the State of step 2 is Timed out:
   3.1 Update multiple Incident records where Active is true:
      - set State: Resolved
4. Wait until 1 day before the trigger's Request Item's Due date
""",
    ),
    "sla": (
        r"""
ON sla_task
sla_percentage_timer
  percentage: 50
send_notification
  record: {{trigger.task_sla_record.task}}
  notification: "SLA warning"
look_up_record sys_user
  conditions: sys_id = {{trigger.task_sla_record.task.assigned_to}}
""",
        r"""Started by SLA Task:
1. SLA Percentage Timer:
   - Percentage: 50
2. Send notification on the trigger's Task SLA Record's Task:
   - Notification: "SLA warning"
3. Look up a User record where Sys ID is the trigger's Task SLA Record's Task's Assigned to
""",
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name: str) -> None:
    text, expected = GOLDEN[name]
    flow = compile_dsl(text, SERVICENOW)
    assert explain_flow(flow, SERVICENOW) == expected
    assert explain_flow(flow.to_json()) == expected


# -- nothing is dropped ------------------------------------------------------------------------


def _last_label(table: str | None, path: str) -> str:
    """The label of the column that a dot-walk ends in, worked out step by step."""
    label = path
    for name in filter(None, path.split(".")):
        column = SERVICENOW.columns(table)[name] if table else None
        label, table = (column.label, column.reference) if column else (name, None)
    return label


def _parts(flow: Flow) -> list[str]:
    """What has to be in an explanation: for each input the label of its value, or its text."""
    scope = Scope.of(flow, SERVICENOW)
    owners: list[Any] = [(None, flow.trigger, scope.trigger_type)] if flow.trigger else []
    owners += [(at, component, scope.definition(component)) for at, component in enumerate(flow.components)]
    parts = []
    for at, owner, definition in owners:
        for item in owner.inputs:
            field = next(field for field in definition.inputs if field.name == item.name)
            kind = kind_of(field.type)
            if PILL.search(item.value) and kind not in {"conditions", "template"}:
                path = PILL.search(item.value).group(1).split(".")  # type: ignore[union-attr]
                parts.append(_last_label(scope.resolve(".".join(path[:2]), at).table, ".".join(path[2:])))
            elif kind in {"conditions", "template"}:
                columns = columns_for(scope, at, field)
                for term in parse_query(item.value, columns).terms:
                    if not term.left.startswith("{{"):
                        parts.append(_last_label(columns.table, term.left))
                    choices = {choice.value: choice.label for choice in term.typed.choices} if term.typed else {}
                    values = (
                        term.value.split(",") if term.operator and term.operator.operand == "list" else [term.value]
                    )
                    parts += [choices.get(value, "") for value in values]
            elif field.choices and component_tells(owner, item.name):
                parts.append(next(choice.label for choice in field.choices if choice.value == item.value))
            elif kind == "table":
                parts.append(SERVICENOW.table_by_name[item.value].label)
            elif kind == "field":
                parts.append(_last_label(scope.table(at), item.value))
            elif kind in {"text", "integer", "number", "boolean", "reference"} and field.type != "step":
                parts.append(item.value.replace("\n", "\\n"))
    return parts


def component_tells(owner: Any, name: str) -> bool:
    """Whether an input is told by its label; the kind of a TIMER is told by how its line reads."""
    return not (getattr(owner, "definition", "") == "TIMER" and name == "duration_type")


@pytest.mark.parametrize("name", GOLDEN)
def test_every_value_is_told(name: str) -> None:
    flow = compile_dsl(GOLDEN[name][0], SERVICENOW)
    text = explain_flow(flow, SERVICENOW)
    parts = _parts(flow)
    assert [part for part in parts if part not in text] == []
    steps = [line for line in text.splitlines() if line.strip()[0].isdigit()]
    assert len(steps) == len(flow.components)


def test_inputs_that_are_unknown_doubled_or_misplaced_are_told() -> None:
    def step(order: int, definition: str, category: str = "action", **inputs: Any) -> dict[str, Any]:
        named = [{"name": name.rstrip("_"), "value": value} for name, value in inputs.items()]
        return {"category": category, "definition": definition, "order": order, "inputs": named}

    steps = [
        step(1, "log", log_message="one", log_message_="two", colour="red"),
        step(2, "TIMER", "flowlogic", duration="soon", duration_="later", duration_type="explicit_duration"),
        step(3, "END", "flowlogic", reason="why"),
        step(4, "look_up_records", table="incident", table_="problem", conditions="active=true", conditions_="blah"),
        step(5, "GOBACKTO", "flowlogic", step="77"),
        step(6, "IF", "flowlogic", condition=""),
        step(7, "update_record", table_name="problem", record="{{9.nothing}}", values="stateCHANGESTO1"),
        step(8, "placeholder", to="do"),
        step(9, "FOREACH", "flowlogic"),
    ]
    trigger = {"type": "weekly", "inputs": [{"name": "time", "value": "late"}, {"name": "day_of_week", "value": "8"}]}
    assert explain_flow({"trigger": trigger, "components": steps}, SERVICENOW) == BROKEN


BROKEN = """\
Started by Weekly:
   - Time: "late"
   - Day of Week: "8"
1. Log:
   - Message: "one"
   - Message: "two"
   - colour: "red"
2. Wait for "soon":
   - duration: "later"
3. End the flow:
   - reason: "why"
4. Look up Incident records where Active is true:
   - Table: Problem
   - Conditions: "blah"
5. Go back:
   - step: "77"
6. If:
   - condition: (empty)
7. Update {{9.nothing}} (Problem):
   - Fields: "stateCHANGESTO1"
8. Placeholder (no step of the installation does this yet):
   - to: "do"
9. For each
"""


def test_a_schedule_that_is_there_twice_is_told_twice() -> None:
    times = [{"name": "time", "value": value} for value in ("late", "1970-01-01 07:00:00")]
    told = explain_flow({"trigger": {"type": "daily", "inputs": times}, "components": []}, SERVICENOW)
    assert told == 'Started by Daily:\n   - Time: "late"\n   - Time: 07:00\nThere are no steps.\n'


# -- conditions and values ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dsl", "words"),
    [
        ("state = New OR state = Closed AND active = true", "(State is New or State is Closed) and Active is true"),
        ("active = true NQ priority != Low", "(Active is true) or (Priority is not Low)"),
        ('short_description CONTAINS "a b"', 'Short description contains "a b"'),
        ('caller_id.manager.email STARTSWITH "x"', "Caller's Manager's Email starts with \"x\""),
        ("caller_id = {{trigger.current.manager}}", "Caller is the triggering User's Manager"),
        ('assignment_group = "Service Desk"', 'Assignment group is "Service Desk"'),
        ("state IN (New, Closed, Canceled)", "State is one of New, Closed or Canceled"),
        ("opened_at BEFORE 3 days ago", "Opened is earlier than 3 days ago"),
        ("opened_at AFTER 1 hour ahead", "Opened is later than 1 hour from now"),
        ("opened_at ON last month", "Opened is during last month"),
        ("opened_at < this week", "Opened is before the beginning of this week"),
        ("opened_at > today", "Opened is after the end of today"),
        ("opened_at > 2024-05-01 08:30", "Opened is after 2024-05-01 08:30"),
        ("opened_at BETWEEN 2024-01-01 TO 2024-02-01", "Opened is between 2024-01-01 00:00 and 2024-02-01 00:00"),
        ("opened_at DATEPART Monday", "Opened is on a Monday"),
        ("opened_at MORETHAN 2 days before activity_due", "Opened is more than 2 days before Activity due"),
        ("opened_at SAMEAS activity_due BY day", "Opened is the same as Activity due by day"),
        ("caller_id SAMEAS opened_by", "Caller is the same as Opened by"),
        ("reassignment_count > 3", "Reassignment count is more than 3"),
        ("caller_id ISEMPTY", "Caller is empty"),
    ],
)
def test_conditions(dsl: str, words: str) -> None:
    text = f"ON record_create sys_user\nlook_up_records incident\n  conditions: {dsl}\n"
    told = explain_flow(compile_dsl(text, SERVICENOW), SERVICENOW)
    assert told == f"When a User is created:\n1. Look up Incident records where {words}\n"


def _told(definition: str, **inputs: str) -> str:
    """The lines of one step on a trigger on incidents."""
    named = [{"name": name, "value": value} for name, value in inputs.items()]
    step = {"category": "action", "definition": definition, "order": 1, "inputs": named}
    table = [{"name": "table", "value": "incident"}]
    flow = {"trigger": {"type": "record_create", "inputs": table}, "components": [step]}
    return explain_flow(flow, SERVICENOW).partition("\n")[2]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("opened_atRELATIVELT@hour@ago@3", "Opened is earlier than 3 hours ago"),
        # The name of a period is told only if the scripts behind it are its own.
        (
            "opened_atONToday@javascript:gs.beginningOfLastMonth()@javascript:gs.endOfToday()",
            'Opened is during "Today@javascript:gs.beginningOfLastMonth()@javascript:gs.endOfToday()"',
        ),
        ("blah", '"blah"'),
        ("state=99", 'State is "99"'),
        ("u_unknown=1", 'u_unknown is "1"'),
        ("active=", "Active is (empty)"),
    ],
)
def test_stored_conditions(query: str, words: str) -> None:
    told = _told("look_up_records", table="incident", conditions=query)
    assert told == f"1. Look up Incident records where {words}\n"


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.name)
def test_every_operator_has_words(operator: Operator) -> None:
    told = _told("look_up_records", table="incident", conditions=f"number{operator.name}zzz")
    assert "Number" in told or operator.operand == "none"
    assert "zzz" in told


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("ApprovesAnyU[{{trigger.current.opened_by}}]", "the triggering Incident's Opened by approves"),
        ("ApprovesAnyU[Ann,Bob]", 'anyone of "Ann" and "Bob" approves'),
        ("ApprovesAllG[Service Desk]", 'all of the members of the group "Service Desk" approve'),
        ("Approves2#U[Ann,Bob]OrApproves50%G[IT]",
         '2 of "Ann" and "Bob" approve or 50 % of the members of the group "IT" approve'),
        ("ApprovesAnyU[Ann]]", '"ApprovesAnyU[Ann]]"'),
        ("whatever", '"whatever"'),
    ],
)  # fmt: skip
def test_approvals(rules: str, words: str) -> None:
    told = _told("ask_for_approval", record="{{trigger.current}}", approval_conditions=rules)
    assert told == f"1. Ask for approval on the triggering Incident:\n   - Approval Conditions: {words}\n"


def test_no_value_passes_for_a_part_of_the_explanation() -> None:
    told = _told("log", log_message='done"\n2. Approve\r\u2028\u202e\x00\\', log_level="in\nfo")
    message = r'"done\"\n2. Approve\r\u2028\u202e\x00\\"'
    assert told == f'1. Log:\n   - Message: {message}\n   - Level: "in\\nfo"\n'
    assert _told("a\nb", **{"c\nd": "{{e}}"}) == "1. a\\nb:\n   - c\\nd: {{e}}\n"


def test_a_table_that_the_record_does_not_say_is_told() -> None:
    values = "active=true"
    same = _told("update_record", table_name="incident", record="{{trigger.current}}", values=values)
    other = _told("update_record", table_name="problem", record="{{trigger.current}}", values=values)
    caller = _told("update_record", table_name="sys_user", record="{{trigger.current.caller_id}}", values=values)
    assert same.startswith("1. Update the triggering Incident:")
    assert other.startswith("1. Update the triggering Incident (Problem):")
    assert caller.startswith("1. Update the triggering Incident's Caller (User):")


def test_names_stand_beside_labels_that_two_share() -> None:
    columns = [{"name": name, "label": "State", "type": "string"} for name in ("state", "u_state")]
    inputs = [{"name": "table", "type": "table_name"}, {"name": "if", "label": "If", "type": "conditions"}]
    tables = [{"name": name, "label": "Case", "columns": columns} for name in ("case", "u_case")]
    step = {"name": "find", "label": "Find Records", "inputs": inputs}
    instance = Instance.from_json({"name": "twins", "steps": [step], "tables": tables})
    given = [{"name": "table", "value": "case"}, {"name": "if", "value": "u_state=x"}]
    flow = {"trigger": None, "components": [{"definition": "find", "order": 1, "inputs": given}]}
    assert explain_flow(flow, instance).endswith('1. Find Case (case) records where State (u_state) is "x"\n')


def test_an_instance_without_tables() -> None:
    who = {"name": "who", "type": "record", "reference": "guest"}
    say = {"name": "say", "label": "Say", "inputs": [{"name": "what", "type": "string"}]}
    chores = {"name": "chores", "category": "subflow"}
    bell = {"name": "ring", "label": "Doorbell", "outputs": [who]}
    instance = Instance.from_json({"name": "small", "triggers": [bell], "steps": [say, chores]})
    steps = [
        {"definition": "say", "order": 1, "inputs": [{"name": "what", "value": "Hello {{trigger.who.name}}"}]},
        {"definition": "chores", "category": "subflow", "order": 2},
    ]
    assert explain_flow({"trigger": {"type": "ring"}, "components": steps}, instance) == (
        "Started by Doorbell:\n1. Say:\n   - what: \"Hello [the trigger's who's name]\"\n2. Run the subflow chores\n"
    )


@pytest.mark.parametrize(
    ("label", "noun"),
    [("User", "a User"), ("Incident", "an Incident"), ("SLA", "an SLA"), ("UX Screen", "a UX Screen"), ("", "a t")],
)
def test_articles(label: str, noun: str) -> None:
    trigger = {"name": "made", "label": "Created", "inputs": [{"name": "table", "type": "table_name"}]}
    tables = [{"name": "t", "label": label}]
    instance = Instance.from_json({"name": "one", "triggers": [trigger], "tables": tables})
    flow = {"trigger": {"type": "made", "inputs": [{"name": "table", "value": "t"}]}, "components": []}
    assert explain_flow(flow, instance) == f"When {noun} is created:\nThere are no steps.\n"


# -- any flow ----------------------------------------------------------------------------------

HEALTH = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=10,
)
DEFINITIONS = st.sampled_from([step.name for step in SERVICENOW.steps] + ["IF", "FOREACH", "TIMER", "CATCH", "nothing"])
FIELDS = sorted({field.name for step in SERVICENOW.steps for field in step.inputs} | {"items", "condition", "step"})
STORED = ["incident", "{{1.Records}}", "{{2.item.caller_id}}", "{{trigger.current}}", "active=true^ORstate=1"]
VALUES = st.text("a1^=,@.{}[]ORNQ\n'", max_size=14) | st.sampled_from([*STORED, "1970-01-01 07:00:00"])
INPUTS = st.lists(st.fixed_dictionaries({"name": st.sampled_from(FIELDS), "value": VALUES}), max_size=4)
STEPS = st.fixed_dictionaries(
    {"definition": DEFINITIONS, "order": st.integers(1, 5)},
    optional={
        "category": st.sampled_from(["action", "flowlogic", "subflow"]),
        "block": st.integers(0, 5),
        "inputs": INPUTS,
    },
)
TRIGGERS = st.fixed_dictionaries({"type": st.sampled_from(sorted(SERVICENOW.trigger_by_name)), "inputs": INPUTS})
FLOWS = st.fixed_dictionaries({"trigger": st.none() | JSON | TRIGGERS, "components": st.lists(STEPS, max_size=6)})


@given(FLOWS | JSON)
@settings(deadline=None, suppress_health_check=HEALTH)
def test_any_json_is_told_and_the_same_way_every_time(flow: Any) -> None:
    text = explain_flow(flow, SERVICENOW)
    assert text == explain_flow(flow, SERVICENOW)
    assert text.endswith("\n")
    text.encode()


@pytest.mark.skipif(drawn is None, reason="no drawn flows")
def test_drawn_flows_are_told() -> None:
    @given(drawn.instances_with_flows())
    @settings(deadline=None, max_examples=60, suppress_health_check=HEALTH)
    def told(pair: tuple[Instance, Any]) -> None:
        instance, flow = pair
        text = explain_flow(flow, instance)
        assert text == explain_flow(Flow.from_json(flow), instance)
        assert "could be read" not in text

    told()


def test_a_thousand_nested_blocks() -> None:
    steps = [{"category": "flowlogic", "definition": "TRY", "order": i, "block": i - 1 or None} for i in range(1, 1001)]
    lines = explain_flow({"trigger": None, "components": steps}, SERVICENOW).splitlines()
    assert len(lines) == 1001
    assert lines[-1].strip() == ".".join(["1"] * 1000) + " Try"


def test_a_long_chain_of_records() -> None:
    made = {"name": "table_name", "value": "incident"}
    steps: list[Any] = [{"definition": "create_record", "order": 1, "inputs": [made]}]
    for order in range(2, 1500):
        record = {"name": "record", "value": f"{{{{{order - 1}.record}}}}"}
        steps.append({"definition": "update_record", "order": order, "inputs": [record]})
    text = explain_flow({"trigger": None, "components": steps}, SERVICENOW)
    assert text.endswith("1499. Update the Incident from step 1498\n")


def test_what_cannot_be_read_is_said() -> None:
    text = explain_flow({"trigger": 7, "components": [3]}, SERVICENOW)
    assert text.startswith("Part of a flow, without a trigger:\nThere are no steps.\nNot everything could be read:\n")
    assert text.count("\n   - ") == 2
