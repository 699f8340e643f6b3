"""DSL text to flow: places of errors, all of them at once, generous spellings, and values that would be more."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import fixed_instances, flows

from flowdsl.check import check_flow
from flowdsl.compile import compile_dsl
from flowdsl.decompile import decompile
from flowdsl.errors import KINDS, FlowIssue, InvalidFlow
from flowdsl.model import Flow

SERVICENOW = fixed_instances()[0]


def errors(text: str) -> tuple[FlowIssue, ...]:
    with pytest.raises(InvalidFlow) as caught:
        compile_dsl(text, SERVICENOW)
    found = caught.value.errors
    assert found and str(found[0]) in str(caught.value)
    assert all(issue.kind in KINDS and issue.line and issue.column for issue in found)
    return found


def places(text: str) -> list[tuple[str, int | None, int | None]]:
    return [(issue.kind, issue.line, issue.column) for issue in errors(text)]


def value(text: str, name: str, step: int | None = None) -> str | None:
    """The value of an input of the trigger, or of a step by its order."""
    flow = compile_dsl(text, SERVICENOW)
    owner = flow.trigger if step is None else flow.component(step)
    assert owner is not None
    return owner.get(name)


def condition(text: str, table: str = "incident") -> str | None:
    return value(f"look_up_records {table}\n  conditions: {text}", "conditions", 1)


# -- places ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fly", [("unknown_step", 1, 1)]),
        ("\n\n   fly\n", [("unknown_step", 3, 4)]),
        ("# comment\nlog\nON daily", [("syntax", 3, 1), ("missing_input", 3, 1)]),
        ("log log log", [("syntax", 1, 9)]),
        ('log\n  log_message: "open', [("syntax", 2, 16)]),
        ("log\n  log_message:", [("syntax", 2, 15)]),
        ("log\n  volume: 11", [("unknown_input", 2, 3)]),
        ('log\n  log_message: "a"\n  log_message: "b"', [("duplicate_input", 3, 3)]),
        ("ON daily\n  time: 25:00\nlog", [("bad_value", 2, 3)]),
        ("END", [("syntax", 1, 1)]),
        ("log\nEND\nlog\n  EN D", [("syntax", 2, 1), ("unknown_step", 4, 3)]),
        ("TRY\nlog", [("syntax", 1, 1), ("try_without_catch", 1, 1)]),
        ("ELSE\nlog\nEND", [("else_without_if", 1, 1)]),
        ("2 log", [("order", 1, 1)]),
        ("ON daily\n  time: 07:00\nON daily\nlog", [("trigger_count", 3, 1)]),
        ("look_up_records unicorn", [("unknown_table", 1, 1)]),
        ("log incident", [("unknown_input", 1, 1)]),
        ("INPUT x string\nlog", [("syntax", 1, 1)]),
        ("  log_message: \"x\"\nlog", [("syntax", 1, 3)]),
        ('look_up_records incident\n  table: problem', [("table_mismatch", 2, 3)]),
    ],
)  # fmt: skip
def test_places(text: str, expected: list[tuple[str, int, int]]) -> None:
    """The place is that of the first, which is not the one too many."""
    assert sorted(places(text)) == sorted(expected)


def test_terms_have_places_of_their_own() -> None:
    text = "look_up_records incident\n  conditions: state = Foo AND actve = true AND active = perhaps"
    assert places(text) == [("unknown_choice", 2, 15), ("unknown_column", 2, 31), ("bad_value", 2, 48)]


def test_all_at_once_in_reading_order() -> None:
    text = """ON "x" at_full_moon
"a" look_up_records unicorn
"b" log log log
"c" fly
  wings: 2
"d" look_up_records incident
  conditions: colour = "red"
"e" send_sms
  recipients: {{9.x}}
END
"""
    assert places(text) == [
        ("unknown_trigger", 1, 1),
        ("unknown_table", 2, 1),
        ("syntax", 3, 13),
        ("unknown_step", 4, 1),
        ("unknown_column", 6 + 1, 15),
        ("missing_input", 8, 1),
        ("unknown_pill", 9, 3),
        ("syntax", 10, 1),
    ]


def test_an_input_line_that_cannot_be_read_is_not_missing_too() -> None:
    """The line with the mandatory input has a syntax error, and the input is also reported as missing."""
    assert places("ON repeat\n  repeat: 1 day, 4 hours\nlog") == [("syntax", 2, 16)]


def test_the_message_counts_the_rest() -> None:
    with pytest.raises(InvalidFlow, match=r"\(and 2 more\)"):
        compile_dsl("fly\nfly\nfly", SERVICENOW)


# -- generous spellings ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("10 days 4 hours", "1970-01-11 04:00:00"),
        ("1 day", "1970-01-02 00:00:00"),
        ("90 minutes", "1970-01-01 01:30:00"),
        ("0 seconds", "1970-01-01 00:00:00"),
        ("4 hours 10 days", "1970-01-11 04:00:00"),
        ("'1970-01-11 04:00:00'", "1970-01-11 04:00:00"),
        ('"1970-01-11 04:00:00"', "1970-01-11 04:00:00"),
    ],
)
def test_durations(written: str, stored: str) -> None:
    assert value(f"ON repeat\n  repeat: {written}\nlog", "repeat") == stored


@pytest.mark.parametrize("written", ["07:00", "7:00", "07:00:00", "'1970-01-01 07:00:00'"])
def test_times(written: str) -> None:
    assert value(f"ON daily\n  time: {written}\nlog", "time") == "1970-01-01 07:00:00"


@pytest.mark.parametrize("written", ["Monday", '"Monday"', "1", "'1'"])
def test_choices_by_label_and_by_value(written: str) -> None:
    assert value(f"ON weekly\n  time: 07:00\n  day_of_week: {written}\nlog", "day_of_week") == "1"


@pytest.mark.parametrize("written", ["2026-12-31 22:00", "2026-12-31 22:00:00", "'2026-12-31 22:00:00'"])
def test_date_times(written: str) -> None:
    assert value(f"ON run_once\n  run_in: {written}\nlog", "run_in") == "2026-12-31 22:00:00"
    assert value("ON run_once\n  run_in: 2026-12-31\nlog", "run_in") == "2026-12-31 00:00:00"


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("state = Resolved", "state=6"),
        ('state = "In Progress"', "state=2"),
        ("state = '6'", "state=6"),
        ("state IN (New, '6')", "stateIN1,6"),
        ("active = true AND priority = 1 OR priority = 2 NQ active = false",
         "active=true^priority=1^ORpriority=2^NQactive=false"),
        ("caller_id.manager.active = true", "caller_id.manager.active=true"),
        ('short_description CONTAINS "50 %"', "short_descriptionLIKE50 %"),
        ("short_description NOT  CONTAINS 'x'", "short_descriptionNOT LIKEx"),
        ("opened_at ON yesterday", "opened_atONYesterday@javascript:gs.beginningOfYesterday()@javascript:gs.endOfYesterday()"),
        ("opened_at ON last month", "opened_atONLast month@javascript:gs.beginningOfLastMonth()@javascript:gs.endOfLastMonth()"),
        ("opened_at BEFORE 3 days ago", "opened_atRELATIVELT@dayofweek@ago@3"),
        ("opened_at BEFORE 1 hour ago", "opened_atRELATIVELT@hour@ago@1"),
        ("opened_at AFTER 15 minutes ago", "opened_atRELATIVEGT@minute@ago@15"),
        ("opened_at < today", "opened_at<javascript:gs.beginningOfToday()"),
        ("opened_at > today", "opened_at>javascript:gs.endOfToday()"),
        ("opened_at DATEPART Monday", "opened_atDATEPARTMonday@javascript:gs.datePart('dayofweek','monday','GE')"),
        ("opened_at BETWEEN 2024-01-01 TO 2024-02-01 10:00", "opened_atBETWEEN2024-01-01 00:00:00@2024-02-01 10:00:00"),
        ("assigned_to ISEMPTY", "assigned_toISEMPTY"),
        ("caller_id SAMEAS opened_by", "caller_idSAMEASopened_by"),
        ('assignment_group = "Service Desk"', "assignment_group=Service Desk"),
        ('short_description = ""', "short_description="),
        ("'active=true^ORstate=6'", "active=true^ORstate=6"),
    ],
)  # fmt: skip
def test_conditions(written: str, stored: str) -> None:
    assert condition(written) == stored


def test_none_leaves_an_input_out() -> None:
    text = 'ON record_create incident\nfire_event\n  table: NONE\n  record: {{trigger.current}}\n  event_name: "x"'
    assert value(text, "table", 1) is None
    assert value(text.replace("  table: NONE\n", ""), "table", 1) == "incident"


def test_headers() -> None:
    plain = compile_dsl("ON record_create incident\nlog", SERVICENOW)
    for text in ('ON "" record_create incident\nlog', "ON record_create\n  table: incident\nlog",
                 "  ON   record_create `incident`  \n\n 1 log\n", "ON record_create incident\r\n\tlog\r\n"):  # fmt: skip
        flow = compile_dsl(text, SERVICENOW)
        assert flow.trigger is not None and plain.trigger is not None
        assert flow.trigger.inputs == plain.trigger.inputs and flow.components == plain.components
    subflow = compile_dsl(
        "SUBFLOW\nINPUT who record sys_user\nOUTPUT n integer\nlog\n  log_message: {{inputs.who.name}}", SERVICENOW
    )
    assert subflow.is_subflow and subflow.trigger is None
    assert not compile_dsl("log", SERVICENOW).is_subflow


def test_numbers_are_optional_but_must_be_right() -> None:
    assert compile_dsl("1 log\nlog\n3 log", SERVICENOW) == compile_dsl("log\nlog\nlog", SERVICENOW)
    assert places("log\n3 log\n2 log") == [("order", 2, 1), ("order", 3, 1)]


def test_no_text_is_an_empty_fragment() -> None:
    assert compile_dsl("", SERVICENOW) == compile_dsl("\n # x\n", SERVICENOW) == Flow()


def test_a_byte_order_mark_is_borne() -> None:
    """A text saved by an editor that writes a byte order mark is a syntax error at an invisible place."""
    assert compile_dsl("\ufefflog", SERVICENOW) == compile_dsl("log", SERVICENOW)


# -- values that would be more than values -----------------------------------------------------


@pytest.mark.parametrize(
    "term",
    [
        'short_description = "a^active=true"',
        'short_description = "a^ORactive=true"',
        'short_description = "a^NQactive=true"',
        'short_description = "a^EQ"',
        'short_description = "^"',
        "short_description = 'a^active=true'",
        'short_description CONTAINS "a^NQactive=true"',
        'short_description != "=x"',
        'short_description = "=x"',
        'short_description < "=1"',
        'short_description IN ("a^active=true", "b")',
        'short_description IN ("a,b", "c")',
        'short_description BETWEEN "a@b" TO "c"',
        'caller_id IN ("_HIERARCHYx")',
        'caller_id IN_HIERARCHY "_DYNAMICx"',
        'assignment_group = "Service Desk^ORactive=true"',
        "state = '6^ORactive=true'",
        'opened_at BEFORE "1^active=true"',
        "active = true^active",
    ],
)
def test_conditions_cannot_be_injected(term: str) -> None:
    kinds = {issue.kind for issue in errors(f"look_up_records incident\n  conditions: {term}")}
    assert kinds & {"bad_value", "syntax"}, kinds


@pytest.mark.parametrize("text", ["a^priority=1", "a^EQ", "^", "^^", "a^ORb=1"])
def test_templates_cannot_be_injected(text: str) -> None:
    for quoted in (json.dumps(text), f"'{text}'"):
        assert ("bad_value", 2) in [
            (i.kind, i.line) for i in errors(f"create_record incident\n  values: short_description = {quoted}")
        ]


def test_pills_conditions_cannot_be_injected() -> None:
    injected = 'look_up_record incident\nIF\n  condition: {{1.error_message}} = "x^OR{{1.Record}}ISEMPTY"\nlog\nEND'
    assert "bad_value" in {issue.kind for issue in errors(injected)}


@given(st.text(max_size=20))
def test_text_means_itself_or_is_refused(text: str) -> None:
    """Whatever is in the quotes, the condition has one part, and its value is the text."""
    dsl = f"look_up_records incident\n  conditions: short_description = {json.dumps(text)} AND active = true"
    try:
        flow = compile_dsl(dsl, SERVICENOW)
    except InvalidFlow as error:
        assert {issue.kind for issue in error.errors} <= {"bad_value", "unknown_pill", "syntax"}
        assert any(mark in text for mark in "^=<>!{") or any(not mark.isprintable() for mark in text)
    else:
        assert flow.components[0].get("conditions") == f"short_description={text}^active=true"


@pytest.mark.parametrize(
    "text", ['"\\ud800" log', 'ON "\\ud800" daily\n  time: 07:00', 'log\n  log_message: "\\ud800"']
)
def test_what_compiles_can_be_written(text: str) -> None:
    """A lone surrogate in an annotation compiles; the flow cannot be printed or saved."""
    try:
        flow = compile_dsl(text, SERVICENOW)
    except InvalidFlow:
        return
    json.dumps(flow.to_json(), ensure_ascii=False).encode()
    assert check_flow(flow.to_json(), SERVICENOW) == check_flow(flow, SERVICENOW)


def test_a_long_number_is_named_as_such() -> None:
    """The message speaks of quotes and of an interpreter's setting."""
    (issue,) = errors("1" * 5000 + " log")
    assert "quotes" not in issue.message and "sys." not in issue.message


# -- any text ----------------------------------------------------------------------------------

_PIECES = ["ON", "daily", "log", "IF", "ELSE", "END", "FOREACH", "BRANCH", "PARALLEL", "TRY", "CATCH", "INPUT", "SUBFLOW",
           "\n", "\n  ", " ", ":", "=", "{{", "}}", "{{1.Records}}", '"', "'", "`", "\\", "7", "-1.5", "07:00", "2024-01-01", "NONE",
           "AND", "OR", "NQ", "(", ")", ",", "TO", "BY", "MORETHAN", "look_up_records", "incident", "conditions", "items",
           "state", "#", "\t", "\r", "^", "é", "\x00", "\u2028", "PLACEHOLDER", "x.y", "condition", "STOP", "GOBACKTO"]  # fmt: skip


@given(st.one_of(st.text(), st.lists(st.sampled_from(_PIECES), max_size=25).map(" ".join),
                 st.lists(st.sampled_from(_PIECES), max_size=25).map("".join)))  # fmt: skip
def test_any_text_compiles_or_says_why(text: str) -> None:
    try:
        flow = compile_dsl(text, SERVICENOW)
    except InvalidFlow as error:
        assert error.errors and all(issue.line and issue.column for issue in error.errors)
        assert all(1 <= (issue.line or 0) <= text.count("\n") + 1 for issue in error.errors)
    else:
        assert compile_dsl(decompile(flow, SERVICENOW), SERVICENOW) == flow


@given(st.sampled_from(fixed_instances()).flatmap(lambda i: st.tuples(st.just(i.name), flows(i, size=5))), st.data())
def test_a_damaged_text_compiles_or_says_why(drawn: tuple[str, dict], data: st.DataObject) -> None:
    instance = next(instance for instance in fixed_instances() if instance.name == drawn[0])
    text = decompile(Flow.from_json(drawn[1]), instance)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.sampled_from([0, 1, 5])))
        text = text[:start] + data.draw(st.sampled_from(["", *_PIECES])) + text[end:]
    try:
        flow = compile_dsl(text, instance)
    except InvalidFlow as error:
        assert error.errors and all(issue.line and issue.column for issue in error.errors)
    else:
        assert check_flow(flow, instance) == []
        assert compile_dsl(decompile(flow, instance), instance) == flow
