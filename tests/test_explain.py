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
from grammars.operators import OPERATORS

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
  condition: category = Software OR category = Hardware AND active = true
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
        r"""When an Incident is created or updated and (Category is Software or Category is Hardware) and Active is true:
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
      values: short_description = "{{trigger.subject}}", caller_id = {{trigger.user}}, description = "From: {{trigger.from_address}}"
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
            - set Description: "From: [the trigger's From address]"
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
      condition: {{4.item.active}} = false AND {{2.item.active}} = true
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
      2.2.1 If the Active of the current Incident of step 2.2 is false and the Active of the current Task of step 2 is true:
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
    for name in path.split("."):
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
            elif kind in {"text", "number", "boolean", "reference"} and field.type != "step":
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
    assert (
        explain_flow({"trigger": trigger, "components": steps}, SERVICENOW)
        == """\
XXX"""
    )
