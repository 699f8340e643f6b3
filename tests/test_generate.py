"""Flows by the model that comes with the package: what holds whatever it chooses."""

import re
from pathlib import Path

import pytest

from flowdsl import Instance, check_flow, compile_dsl, decompile, edit_flow, generate_flow
from flowdsl.changes import carried, counterparts
from flowdsl.decompile import outline_text
from flowdsl.errors import BudgetTooSmall, InvalidRequirement
from flowdsl.model import PLACEHOLDER

INACTIVE = "When a user becomes inactive, find the incidents they own and assign them to their manager"
BADGE = "When an incident is resolved, print a badge at reception and email the caller"
BANK = Instance.load(Path(__file__).parent.parent / "examples" / "bank.json")


@pytest.mark.parametrize(
    ("requirement", "instance"),
    [
        (INACTIVE, None),
        ("every day at 7 log hello", None),
        ("Once a loan is overdue, text the borrower and, if the amount is above 10000, tell the branch", BANK),
        ('Say "{{1.Records}}" \\ and END, then `log` it', None),
    ],
)
def test_a_flow(requirement: str, instance: Instance | None) -> None:
    result = generate_flow(requirement, instance)
    known = instance or Instance.load("servicenow")
    assert check_flow(result.to_json(), known) == []
    assert compile_dsl(result.dsl, known) == result.flow and decompile(result.flow, known) == result.dsl
    said = [owner.annotation for owner in map(result.flow.owner, result.flow.owners)]
    assert all(words is not None and words in requirement for words in said)
    stats = result.stats
    assert 0 < stats.passes < stats.output_tokens and stats.finish_reason == "complete"
    assert generate_flow(requirement, instance).dsl == result.dsl, "greedy"


def test_a_budget_is_kept_and_the_natural_length_is_enough() -> None:
    whole = generate_flow(INACTIVE)
    with pytest.raises(BudgetTooSmall) as caught:
        generate_flow(INACTIVE, max_tokens=3)
    least = int(re.findall(r"\d+", str(caught.value))[-1])
    for tokens in (least, least + 7, whole.stats.output_tokens // 2):
        cut = generate_flow(INACTIVE, max_tokens=tokens)
        assert check_flow(cut.flow, Instance.load("servicenow")) == []
        assert cut.stats.output_tokens <= tokens
    assert generate_flow(INACTIVE, max_tokens=whole.stats.output_tokens).dsl == whole.dsl


def test_what_nothing_does_is_left_open() -> None:
    result = generate_flow(BADGE)
    invented = [c for c in result.flow.components if "badge" in (c.annotation or "") and c.definition != PLACEHOLDER]
    assert invented == []
    assert [step.annotation for step in result.placeholders] == [
        c.annotation for c in result.flow.components if c.definition == PLACEHOLDER
    ]
    assert not generate_flow(BADGE, placeholders=False).placeholders


def test_references() -> None:
    with pytest.raises(InvalidRequirement, match=r"#incidnt.*incident"):
        generate_flow("When an #incidnt is created, log it")
    assert generate_flow('When an #incident is created, log "#1"').flow.components


def test_what_is_denied_does_not_come() -> None:
    flow = generate_flow(INACTIVE, deny=["look_up_records", "update_record"]).flow
    assert not {"look_up_records", "update_record"} & {c.definition for c in flow.components}


def test_an_edit_keeps_steps_whose_lines_stay_and_tells_what_it_changed() -> None:
    known = Instance.load("servicenow")
    prior = compile_dsl(
        'ON "every Monday at 8" weekly\n  day_of_week: Monday\n  time: 08:00\n'
        '1 "look up the open problems" look_up_records problem\n  conditions: active = true\n'
        '2 "log their number" log\n  log_message: "{{1.Count}} problems"\n',
        known,
    )
    result = edit_flow(prior, "also email ann@example.com at the end")
    assert check_flow(result.flow, known) == []
    inputs = carried(prior, result.flow)
    for at, was in counterparts(prior, result.flow).items():
        if result.flow.owner(at).annotation == prior.owner(was).annotation:
            assert result.flow.owner(at).inputs == inputs[at]
    assert bool(result.diff) == (result.flow != prior)


@pytest.mark.parametrize("instruction", ["No need to text the caller", "Leave out the second step"])
def test_an_edit_changes_something(instruction: str) -> None:
    known = Instance.load("servicenow")
    prior = compile_dsl(
        """ON "When a critical incident is created" record_create incident
  condition: priority = Critical
1 "text the caller" send_sms
  recipients: {{trigger.current.caller_id.mobile_phone}}
  message: "We are on it"
2 "log its number" log
  log_message: "{{trigger.current.number}}"
""",
        known,
    )
    told: list[tuple[str, str]] = []
    result = edit_flow(prior, instruction, on_event=lambda event: told.append((event["event"], event["text"])))
    assert result.diff and result.flow != prior
    lines = outline_text(result.flow, known).splitlines()
    assert [text for event, text in told if event in {"trigger", "step"}] == lines
