"""What an edit keeps, and what it is said to have changed."""

import pytest
from test_corpus import CASES, instance_of

from flowdsl.changes import changes, counterparts, kept
from flowdsl.compile import compile_dsl, without_inputs
from flowdsl.pairs import Pair, instance_for, read_pairs
from flowdsl.scope import Scope

EDITS = [pair for pair in read_pairs("data/train.jsonl") if pair.prior is not None][::4]
LOOP = """ON "every Monday" weekly
  day_of_week: Monday
  time: 08:00
1 "find the open incidents" look_up_records incident
  conditions: active = true
2 "for each" FOREACH
  items: {{1.Records}}
3 "email the caller" send_email
  ah_to: {{2.item.caller_id.email}}
  ah_subject: "Reminder"
END
"""


@pytest.mark.parametrize(("instance", "requirement", "text"), CASES)
def test_a_flow_is_kept_whole_beside_itself(instance: str, requirement: str, text: str) -> None:
    known = instance_of(instance)
    flow = compile_dsl(text, known)
    loops = Scope.of(flow, known).item_tables
    assert list(changes(flow, flow, known)) == []
    assert kept(flow, without_inputs(flow, known, flow.owners), known, loops) == flow


def test_edits_that_people_wrote_keep_what_the_outline_says() -> None:
    """In nearly every edit, a step whose line stays has the inputs that it had."""
    right = wrong = 0
    for pair in EDITS:
        known, prior, flow = _of(pair)
        loops = Scope.of(flow, known).item_tables
        bare = without_inputs(flow, known, flow.owners)
        held = kept(prior, bare, known, loops)
        for at in flow.owners:
            if held.owner(at) != bare.owner(at):
                same = sorted(map(str, held.owner(at).inputs)) == sorted(map(str, flow.owner(at).inputs))
                right, wrong = right + same, wrong + (not same)
    assert right > 200 and wrong <= 0.02 * right


@pytest.mark.parametrize("pair", EDITS[:40], ids=lambda pair: pair.id)
def test_counterparts_are_of_one_kind_and_in_order(pair: Pair) -> None:
    known, prior, flow = _of(pair)
    pairs = [(was, at) for at, was in counterparts(prior, flow).items() if at is not None and was is not None]
    assert [was for was, _ in pairs] == sorted({was for was, _ in pairs})
    assert [at for _, at in pairs] == sorted({at for _, at in pairs})
    assert all(prior.components[was].definition == flow.components[at].definition for was, at in pairs)
    assert list(changes(prior, flow, known)), "an edit changes something"


def test_what_is_said_of_an_edit() -> None:
    known = instance_for("servicenow")
    before = compile_dsl(LOOP, known)
    text = LOOP.replace("active = true", "active = true AND priority = Critical")
    text = text.replace('1 "find', '1 "and note it" log\n  log_message: "x"\n2 "find')
    text = text.replace('2 "for each"', '3 "for each"').replace("{{1.Records}}", "{{2.Records}}")
    text = text.replace('3 "email', '4 "email').replace("{{2.item", "{{3.item")
    after = compile_dsl(text, known)
    assert [str(change) for change in changes(before, after, known)] == [
        '+ 1 "and note it" log\n+   log_message: "x"',
        '- 1 "find the open incidents" look_up_records incident\n-   conditions: active = true\n'
        '+ 2 "find the open incidents" look_up_records incident\n+   conditions: active = true AND priority = Critical',
    ]
    assert [str(change)[:3] for change in changes(after, before, known)] == ["- 1", "- 2"]


def test_a_pill_of_a_step_that_is_gone_is_not_kept() -> None:
    known = instance_for("servicenow")
    before = compile_dsl(
        '1 "count them" look_up_records incident\n2 "log it" log\n  log_message: "{{1.Count}}"\n', known
    )
    after = compile_dsl('1 "log it" log\n  log_message: "x"\n', known)
    held = kept(before, without_inputs(after, known, after.owners), known, {})
    assert held.components[0].inputs == ()


def _of(pair: Pair):
    prior = pair.compiled_prior()
    assert prior is not None
    return instance_for(pair.instance), prior, pair.compiled()
