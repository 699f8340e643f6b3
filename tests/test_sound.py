"""Soundness: whatever the masks let through is a valid flow, and they never come to a dead end.

Random walks over both vocabularies: tokens are drawn from the mask alone, so that they go where no
model would. `FLOWDSL_WALKS=2000` walks so many times (default: a few).
"""

import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from functools import cache
from importlib import resources

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lark import Lark
from strategies import fixed_instances, instances
from walk import Walked, walk_flow

from decoding import Constraint, Vocabulary, compile_grammar
from flowdsl.check import check_flow
from flowdsl.compile import compile_dsl, read_dsl
from flowdsl.decompile import decompile
from flowdsl.instance import Instance
from flowdsl.outline import Limits, Outline
from flowdsl.query import Columns, parse_query
from flowdsl.scope import Scope
from flowdsl.specialise import input_slots, inputs_constraint
from flowdsl.syntax import InputLine, OutlineLine, Value, parse_lines
from grammars.names import is_open_walk, open_walk
from grammars.operators import BY_WORD
from grammars.spelling import DATE, spell_name
from grammars.text import Sheet

WALKS = int(os.environ.get("FLOWDSL_WALKS", "0"))

REQUIREMENTS = (
    None,
    "When a user becomes inactive, find the incidents they own and assign them to their manager",
    'Set the title to "{{1.Records}}" when "it\'s" END, then \\stop\\ at 7:30 {sharp}',
    "IF a BRANCH is STOPped: END",
    "Quand l'été 🎉 arrive: 日本語 e\u0301 \u00a0naïve\u2028x",
    "x",
    "{{ }} \"\" '' `` \\ ^ , @",
)
FORMS = (("flow", "fragment", "subflow"), ("flow",), ("fragment",), ("subflow",))
#: Parts of requirements for which there would be no step.
UNMATCHED = ((), ("find the incidents they own", "x", "IF a BRANCH"), ("assign them to their manager", "arrive"))
WIDE = Limits(steps=30, depth=6, repeats=9)


@cache
def vocabulary(name: str) -> Vocabulary:
    return Vocabulary.from_tekken() if name == "nemo" else Vocabulary.embedded()


@cache
def language() -> Lark:
    text = (resources.files("grammars") / "flow.lark").read_text(encoding="utf-8")
    return Lark(text, start="line", parser="lalr", lexer="contextual")


def walked(seed: int, instance: Instance | None = None) -> tuple[Instance, Walked]:
    """The walk of a seed."""
    rng = random.Random(seed)
    instance = instance or rng.choice(fixed_instances())
    outline = Outline(
        instance,
        requirement=rng.choice(REQUIREMENTS),
        placeholders=rng.random() < 0.5,
        unmatched=rng.choice(UNMATCHED),
        forms=rng.choice(FORMS if instance.triggers else [FORMS[0], *FORMS[2:]]),
        limits=rng.choice([Limits(), WIDE, Limits(steps=4, depth=2)]),
    )
    if instance.steps or outline.placeholders:
        return instance, walk_flow(
            outline, vocabulary(rng.choice(["nemo", "smollm2"])), rng, rng.choice([5, 60, 150, 300])
        )
    return instance, walk_flow(outline, vocabulary("smollm2"), rng, 20)


def assert_valid(instance: Instance, result: Walked) -> None:
    for line in "".join([result.outline, *result.inputs]).removesuffix("\n").split("\n"):
        if line:
            language().parse(line)
    assert check_flow(result.flow, instance) == []
    assert check_flow(result.flow.to_json(), instance) == []
    text = decompile(result.flow, instance)
    assert compile_dsl(text, instance) == result.flow, text


# -- coverage ----------------------------------------------------------------------------------


def kinds_of(result: Walked) -> Iterator[str]:
    """What a walk has shown: forms of lines, logic, operators, forms of operands and values."""
    lines = [line for text in (result.outline, *result.inputs) for line in parse_lines(text)[0]]
    for line in lines:
        if isinstance(line, OutlineLine):
            yield f"line {line.form}"
            if line.form == "logic":
                yield line.names[0]
        elif isinstance(line, InputLine):
            if isinstance(line.value, Value):
                yield f"value {line.value.form}"
                if line.value.form == "text" and "{{" in line.value.text:
                    yield "text with a pill"
                if line.value.form == "pill":
                    yield f"walk of {line.value.text.count('.') - 1}"
                continue
            for clause in line.value or ():
                yield f"join {clause.join}"
                yield clause.word
                yield f"operand {clause.form}"
                yield "a pill compared" if isinstance(clause.left, str) else f"column of {len(clause.left)}"
                for value in clause.values:
                    yield f"{clause.form} {value.form}"


LOGIC = "IF ELSEIF ELSE FOREACH DOUNTIL PARALLEL BRANCH TRY CATCH TIMER STOP BREAK CONTINUE GOBACKTO".split()
EXPECTED = {
    *(f"line {form}" for form in "trigger subflow input output step placeholder logic end".split()),
    *LOGIC,
    *BY_WORD,
    *(f"value {form}" for form in ("text", "pill", "words")),
    *(f"walk of {count}" for count in range(4)),
    "text with a pill",
    *(f"join {join}" for join in ("", "AND", "OR", "NQ", ",")),
    *(f"operand {form}" for form in ("one", "several", "between", "offset", "none")),
    "a pill compared",
    *(f"column of {count}" for count in (1, 2, 3)),
    "value raw",
    "operand by_unit",
    *("one text", "one pill", "one words", "one raw", "several text", "several words", "between text", "between words"),
}


def test_walks_on_known_instances() -> None:
    seen: Counter[str] = Counter()
    for seed in range(WALKS or 24):
        try:
            instance, result = walked(seed)
            assert_valid(instance, result)
        except Exception as error:
            pytest.fail(f"walk {seed}: {type(error).__name__}: {error}")
        seen.update(kinds_of(result))
    if WALKS >= 500:
        missing = EXPECTED - set(seen)
        assert len(missing) <= 0.05 * len(EXPECTED), sorted(missing)


@settings(max_examples=WALKS or 40)
@given(instance=instances(), seed=st.integers(0, 2**32))
def test_walks_on_any_instance(instance: Instance, seed: int) -> None:
    assert_valid(*walked(seed, instance))


def test_dates_are_those_of_the_calendar() -> None:
    days = ("01-31", "02-28", "02-29", "02-30", "04-30", "04-31", "12-31", "00-10", "10-00", "13-01")
    for text in (f"{year:04}-{day}" for year in range(10_000) for day in days):
        try:
            exists = bool(date.fromisoformat(text))
        except ValueError:
            exists = False
        assert (re.fullmatch(DATE, text) is not None) == exists, text


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("999999 days 9999 hours", True),
        ("2899999 days 9999 hours 9999 minutes 99999 seconds", True),
        ("2932896 days 23 hours 59 minutes 59 seconds", True),
        ("2932896 days 24 hours", False),
        ("2932897 days", False),
    ],
)
def test_durations_end_with_the_calendar(text: str, ends: bool) -> None:
    known = fixed_instances()[0]
    flow = compile_dsl("1 TIMER\n  duration_type: explicit_duration\n  duration: 1 day\n", known)
    matcher = compile_grammar(vocabulary("nemo"), inputs_constraint(Scope.of(flow, known), 0).grammar)
    tokens = vocabulary("nemo").encode(f"duration_type: explicit_duration\nduration: {text}\n")
    assert (matcher.accepts(tokens) == len(tokens)) == ends
    issues = read_dsl(f"1 TIMER\n  duration_type: explicit_duration\n  duration: {text}\n", known)[1]
    assert (issues == []) == ends


@pytest.mark.parametrize("count", [1, 3, 62])
def test_a_template_ends_when_every_field_is_set(count: int) -> None:
    columns = [{"name": f"c{i}", "type": "boolean"} for i in range(count)]
    inputs = [
        {"name": "table", "type": "table_name", "mandatory": True},
        {"name": "values", "type": "template_value", "mandatory": True},
    ]
    known = Instance.from_json(
        {"name": "t", "steps": [{"name": "make", "inputs": inputs}], "tables": [{"name": "t", "columns": columns}]}
    )
    flow = compile_dsl("1 make t\n  values: c0 = true\n", known)
    matcher = compile_grammar(vocabulary("nemo"), inputs_constraint(Scope.of(flow, known), 0).grammar)
    assignments = [*(f"c{i} = true" for i in range(count)), 'sys_id = "x"']
    matcher.consume(vocabulary("nemo").encode("values: " + ", ".join(assignments)))
    assert [vocabulary("nemo").decode([token]) for token in matcher.allowed()] == ["\n"]


def open_instance(*steps: dict[str, object]) -> Instance:
    return Instance.from_json({"name": "open", "steps": list(steps)})


MAKE = {
    "name": "make",
    "inputs": [
        {"name": "table", "type": "table_name", "mandatory": True},
        {"name": "values", "type": "template_value"},
        {"name": "note", "type": "string"},
    ],
}


def written(constraint: Constraint | None, *parts: str) -> bool:
    """Whether these texts can come out, one segment each."""
    for part in parts:
        if constraint is None:
            return False
        matcher = compile_grammar(vocabulary("nemo"), constraint.grammar)
        tokens = vocabulary("nemo").encode(part)
        if matcher.accepts(tokens) < len(tokens):
            return False
        matcher.consume(tokens)
        if not matcher.accepting:
            return False
        constraint = constraint.after(part)
    return True


def test_an_open_field_is_set_once() -> None:
    known = open_instance(MAKE)
    constraint = inputs_constraint(Scope.of(compile_dsl("1 make things\n", known), known), 0)
    assert written(constraint, 'values: state = "x",', ' state2 = "y",', ' deviceId = "z"\n', 'note: "n"\n')
    assert not written(constraint, 'values: state = "x",', ' state = "y"\n')
    assert not written(constraint, 'values: state = "x",', ' state2 = "y",', ' state = "z"\n')
    assert written(constraint, 'note: "n"\n')
    assert written(constraint, "values: ''\n", 'note: "n"\n')
    assert not written(constraint, "values: ''\n", 'values: state = "x"\n')


_PIECES = [*(word.name for word in BY_WORD.values() if word.name.isupper()), *"AINOXx1_"]


@settings(max_examples=500)
@given(st.lists(st.tuples(st.sampled_from(_PIECES), st.integers(1, 9)), min_size=1, max_size=4), st.booleans())
def test_open_fields_are_read_back(pieces: list[tuple[str, int]], joined: bool) -> None:
    name = "".join(piece[:length] for piece, length in pieces)
    sheet = Sheet()
    terminal = open_walk(sheet)
    matcher = compile_grammar(vocabulary("smollm2"), f'start: {terminal} "="\n{sheet}')
    tokens = vocabulary("smollm2").encode(f"{spell_name(name)}=")
    accepted = matcher.accepts(tokens) == len(tokens)
    assert accepted == is_open_walk([name])
    if accepted:
        columns = Columns(open_instance(), "things", is_open=True)
        for operator in BY_WORD.values():
            value = "" if operator.operand == "none" else "x"
            terms = parse_query(f"{'a=1^' * joined}{name}{operator.name}{value}", columns).terms
            read = [(term.left, term.operator, term.value) for term in terms]
            assert read == [("a", BY_WORD["="], "1")] * joined + [(name, operator, value)]


@pytest.mark.parametrize(
    ("condition", "valid"),
    [
        ("name = {{1.a,b}}", True),
        ("name IN ({{1.a}}, {{1.a}})", True),
        ("name IN ({{1.a,b}})", False),
        ("group IN_HIERARCHY \"_DYNAMIC\"", False),
        ("name = \"_DYNAMIC\"", True),
        ("name IN (\"a@b.example\", \"\")", True),
        ("name BETWEEN \"a,b\" TO \"\"", True),
        ("opened >= 'javascript:gs.daysAgo(7)' AND opened SAMEAS group.opened BY day", True),
        ("opened >= 'javascript:gs.daysAgo({{1.a}})'", False),
        ("opened >= '2027-01-31 08:00:00'", False),
    ],
)  # fmt: skip
def test_what_is_generated_in_a_query_can_be_read(condition: str, valid: bool) -> None:
    find = {
        "name": "find",
        "inputs": [
            {"name": "table", "type": "table_name", "mandatory": True},
            {"name": "conditions", "type": "conditions"},
        ],
        "outputs": [{"name": "a", "type": "string"}, {"name": "a,b", "type": "string"}],
    }
    columns = [
        {"name": "name", "type": "string"},
        {"name": "opened", "type": "date_time"},
        {"name": "group", "type": "reference", "reference": "t"},
    ]
    known = Instance.from_json({"name": "t", "steps": [find], "tables": [{"name": "t", "columns": columns}]})
    text = f"1 find t\n2 find t\n  conditions: {condition}\n"
    flow = compile_dsl("1 find t\n2 find t\n", known)
    assert written(inputs_constraint(Scope.of(flow, known), 1), f"conditions: {condition}\n") == valid
    if valid:
        assert read_dsl(text, known)[1] == []


def test_a_table_that_a_record_implies_may_be_written_but_is_not_asked_for() -> None:
    known = fixed_instances()[0]
    flow = compile_dsl('ON record_create incident\n1 send_email\n  ah_to: "x"\n  ah_subject: "y"\n', known)
    scope = Scope.of(flow, known)
    assert [line.name for line in input_slots(scope, 0)][:2] == ["record", "ah_to"]
    constraint = inputs_constraint(scope, 0)
    rest = 'ah_to: "x"\nah_subject: "y"\n'
    assert written(constraint, rest)
    assert written(constraint, "record: {{trigger.current}}\n" + rest)
    assert written(constraint, "table_name: task\n", "record: {{trigger.current}}\n" + rest)
    assert written(constraint, "table_name: problem\n", rest)
    assert not written(constraint, "table_name: problem\n", "record: {{trigger.current}}\n" + rest)
