"""Flows as an expert writes them, and the examples of `docs/language.md`.

Each file of `tests/corpus` holds flows for the instance of its name, in the canonical spelling,
each below the requirement it implements. `python -m tests.test_corpus` spells them canonically
again after a deliberate change of the language.
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from flowdsl.check import check_flow
from flowdsl.compile import compile_dsl, read_dsl
from flowdsl.decompile import decompile
from flowdsl.errors import KINDS
from flowdsl.instance import Instance
from flowdsl.model import FLOW_LOGIC, PLACEHOLDER, Flow
from flowdsl.scope import PILL
from flowdsl.syntax import InputLine, OutlineLine, Value, parse_lines
from flowdsl.typed import Typed, typed_of
from flowdsl.values import read_value, spell_value
from grammars.operators import BY_WORD

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "tests" / "corpus"
LANGUAGE = ROOT / "docs" / "language.md"
#: How many flows each file holds at least, and where its instance is.
FILES: dict[str, tuple[int, str | Path]] = {
    "servicenow": (100, "servicenow"),
    "bank": (30, ROOT / "examples" / "bank.json"),
    "smart_home": (20, ROOT / "examples" / "smart_home.json"),
}
#: Blocks in blocks that some flow has.
NESTINGS = (
    "PARALLEL_BRANCH/TRY",
    "PARALLEL_BRANCH/FOREACH/IF",
    "FOREACH/TRY",
    "TRY/PARALLEL",
    "DOUNTIL/FOREACH",
    "IF/FOREACH/IF",
    "ELSE/IF",
    "FOREACH/FOREACH/IF",
)
HEAD = "# REQUIREMENT: "
_FENCE = re.compile(r"^```(\S+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@cache
def instance_of(name: str) -> Instance:
    return Instance.load(FILES[name][1])


def read_corpus(name: str) -> list[tuple[str, str]]:
    """The requirements of a file, each with its flow."""
    flows = []
    for block in (CORPUS / f"{name}.flow").read_text(encoding="utf-8").split("---\n"):
        head, _, text = block.partition("\n")
        assert head.startswith(HEAD), f"{name}: {head!r} is no requirement"
        flows.append((head.removeprefix(HEAD), text))
    return flows


CASES = [
    pytest.param(name, requirement, text, id=f"{name}-{number}")
    for name in FILES
    for number, (requirement, text) in enumerate(read_corpus(name), start=1)
]


@cache
def compiled(name: str) -> tuple[Flow, ...]:
    return tuple(compile_dsl(text, instance_of(name)) for _, text in read_corpus(name))


# -- every flow --------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "requirement", "text"), CASES)
def test_flow_is_valid(name: str, requirement: str, text: str) -> None:
    flow, issues = read_dsl(text, instance_of(name))
    assert issues == []
    assert check_flow(flow.to_json(), instance_of(name)) == []


@pytest.mark.parametrize(("name", "requirement", "text"), CASES)
def test_flow_is_canonical(name: str, requirement: str, text: str) -> None:
    flow = compile_dsl(text, instance_of(name))
    assert decompile(flow, instance_of(name)) == text


@pytest.mark.parametrize(("name", "requirement", "text"), CASES)
def test_flow_survives_json_and_dsl(name: str, requirement: str, text: str) -> None:
    instance = instance_of(name)
    flow = compile_dsl(text, instance)
    assert Flow.from_json(json.loads(json.dumps(flow.to_json()))) == flow
    assert compile_dsl(decompile(flow, instance), instance) == flow


@pytest.mark.parametrize(("name", "requirement", "text"), CASES)
def test_layout_and_numbers_mean_nothing(name: str, requirement: str, text: str) -> None:
    instance = instance_of(name)
    loose = "\n\n".join(re.sub(r"^[0-9]+ ", "", line.strip()) for line in text.splitlines())
    assert compile_dsl(loose, instance) == compile_dsl(text, instance)


@pytest.mark.parametrize(("name", "requirement", "text"), CASES)
def test_annotations_are_spans_of_the_requirement(name: str, requirement: str, text: str) -> None:
    flow = compile_dsl(text, instance_of(name))
    for owner in [*([flow.trigger] if flow.trigger else []), *flow.components]:
        assert owner.annotation, f"{owner} has no annotation"
        assert owner.annotation in requirement


# -- coverage ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_file_has_enough_flows_without_repetition(name: str) -> None:
    flows = read_corpus(name)
    assert len(flows) >= FILES[name][0]
    assert len({requirement for requirement, _ in flows}) == len({text for _, text in flows}) == len(flows)


@pytest.mark.parametrize("name", FILES)
def test_every_trigger_and_step_is_used(name: str) -> None:
    instance, flows = instance_of(name), compiled(name)
    assert {flow.trigger.type for flow in flows if flow.trigger} == {trigger.name for trigger in instance.triggers}
    used = {step.definition for flow in flows for step in flow.components if not step.is_logic}
    assert used == {step.name for step in instance.steps} | {PLACEHOLDER}


@pytest.mark.parametrize("name", FILES)
def test_all_flow_logic_is_used(name: str) -> None:
    used = {step.definition for flow in compiled(name) for step in flow.components if step.is_logic}
    expected = set(FLOW_LOGIC)
    if name == "bank":
        expected -= {"END", "GOBACKTO"}
    if name == "smart_home":
        expected -= {"END", "ELSEIF", "BREAK"}
    assert used == expected


def test_every_operator_is_used() -> None:
    used = {
        clause.word
        for name in FILES
        for _, text in read_corpus(name)
        for line in parse_lines(text)[0]
        if isinstance(line, InputLine) and isinstance(line.value, tuple)
        for clause in line.value
    }
    assert used == set(BY_WORD)


def _input_texts(name: str) -> Iterator[str]:
    for flow in compiled(name):
        for owner in [*([flow.trigger] if flow.trigger else []), *flow.components]:
            yield from (item.value for item in owner.inputs)


def test_the_corpus_is_varied() -> None:
    flows = [flow for name in FILES for flow in compiled(name)]
    lengths = {len(flow.components) for flow in flows}
    assert {1, 2, 3, 4, 5, 6, 8, 10, 15} <= lengths
    assert max(lengths) == 15
    assert any(flow.trigger is None and not flow.is_subflow for flow in flows), "a fragment"
    subflows = [flow for flow in flows if flow.is_subflow]
    assert any(flow.outputs and flow.outputs.items for flow in subflows)
    assert any(not flow.outputs or not flow.outputs.items for flow in subflows)
    texts = [text for name in FILES for text in _input_texts(name)]
    pills = [pill for text in texts for pill in PILL.findall(text)]
    # A walk's depth counts the fields after the output: trigger.current.manager.email is 2 deep.
    depths = Counter(pill.count(".") - 1 for pill in pills)
    assert {0, 1, 2, 3} <= set(depths)
    assert any(text.count("{{") > 2 and not PILL.fullmatch(text) for text in texts), "text with several pills"
    for mark in ('"', "\n", "\\", "{from", "ö", "🎉", "ApprovesAllG[", "&ApprovesAnyU["):
        assert any(mark in text for text in texts), mark
    paths = [path for flow in flows for path in _nestings(flow)]
    for nesting in NESTINGS:
        assert any(nesting in path for path in paths), nesting


def _nestings(flow: Flow) -> Iterator[str]:
    paths: dict[int | None, str] = {None: ""}
    for step in flow.components:
        if step.is_logic:
            paths[step.order] = f"{paths[step.block]}/{step.definition}"
            yield paths[step.order]


# -- the documentation -------------------------------------------------------------------------


def _fences(text: str) -> list[tuple[int, str, str | None, str]]:
    """Every fenced example: its line, its language, what follows that, and its text."""
    return [(text.count("\n", 0, match.start()) + 1, match[1], match[2], match[3]) for match in _FENCE.finditer(text)]


FENCES = _fences(LANGUAGE.read_text(encoding="utf-8"))
FLOWS = [pytest.param(text, extra, id=f"line-{line}") for line, lang, extra, text in FENCES if lang == "flow"]
ERRORS = [
    pytest.param(kind, text, id=f"line-{line}-{kind}") for line, lang, kind, text in FENCES if lang == "flow-error"
]
PAIRS = [
    pytest.param(before[3], after[3], id=f"line-{after[0]}")
    for before, after in itertools.pairwise(FENCES)
    if (before[1], after[1]) == ("flow", "json")
]
JSON_ERRORS = [
    pytest.param(kind, text, id=f"line-{line}-{kind}") for line, lang, kind, text in FENCES if lang == "json-error"
]


def _rows(header: str) -> list[list[str]]:
    """The cells of the table with this header, without their backticks."""
    table = LANGUAGE.read_text(encoding="utf-8").partition(header)[2].partition("\n\n")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    return [[cell[1:-1] if re.fullmatch("`[^`]*`", cell) else cell for cell in row] for row in rows]


OPERATOR_ROWS = _rows("| DSL | Meaning | In the JSON | Fits | Example | Its JSON |")
VALUE_ROWS = [
    [kind, *(cell.split("`")[1] if "`" in cell else cell for cell in (spelling, stored))]
    for kind, _, spelling, stored in _rows("| Kind | Types | Written in the DSL | In the JSON |")
    if kind in {"number", "boolean", "time", "duration", "date", "date_time", "choice"}
]


@pytest.mark.parametrize(("text", "spelling"), FLOWS)
def test_documented_flow_compiles(text: str, spelling: str | None) -> None:
    """All examples are canonical, except those that are marked ``flow generous``."""
    flow = compile_dsl(text, instance_of("servicenow"))
    assert spelling == "generous" or decompile(flow) == text


@pytest.mark.parametrize(("kind", "text"), ERRORS)
def test_documented_error_is_found(kind: str, text: str) -> None:
    _, issues = read_dsl(text, instance_of("servicenow"))
    assert {issue.kind for issue in issues} == {kind}
    assert all(issue.line and issue.message for issue in issues)


@pytest.mark.parametrize(("text", "written"), PAIRS)
def test_documented_json_is_that_of_the_flow(text: str, written: str) -> None:
    assert compile_dsl(text, instance_of("servicenow")).to_json() == json.loads(written)


@pytest.mark.parametrize(("kind", "text"), JSON_ERRORS)
def test_documented_json_error_is_found(kind: str, text: str) -> None:
    assert {issue.kind for issue in check_flow(json.loads(text), instance_of("servicenow"))} == {kind}


@pytest.mark.parametrize("cells", OPERATOR_ROWS, ids=lambda cells: cells[0])
def test_documented_operator(cells: list[str]) -> None:
    word, _, name, fits, example, encoded = cells
    operator = BY_WORD[word]
    assert operator.name == name
    every = BY_WORD["ISEMPTY"].kinds
    if fits.startswith("all but "):
        assert operator.kinds == every - set(fits.removeprefix("all but ").split(", "))
    else:
        assert operator.kinds == (every if fits == "all" else set(fits.split(", ")))
    if operator.on_change:
        text = f"ON record_update incident\n  condition: {example}\n1 log\n"
    else:
        text = f"1 look_up_records incident\n  conditions: {example}\n"
    flow = compile_dsl(text, instance_of("servicenow"))
    owner = flow.trigger or flow.components[0]
    assert owner.inputs[1].value == encoded
    assert decompile(flow) == text


@pytest.mark.parametrize("cells", VALUE_ROWS, ids=lambda cells: cells[0])
def test_documented_value(cells: list[str]) -> None:
    kind, spelling, stored = cells
    (line,), issues = parse_lines(f"x: {spelling}")
    assert not issues and isinstance(line, InputLine) and isinstance(line.value, Value)
    state = instance_of("servicenow").columns("incident")["state"]
    typed = typed_of(state) if kind == "choice" else Typed(kind)
    assert read_value(line.value, typed) == stored
    assert spell_value(stored, typed) == spelling


def test_documentation_is_complete() -> None:
    text = LANGUAGE.read_text(encoding="utf-8")
    assert FLOWS and ERRORS and PAIRS
    assert [row[0] for row in OPERATOR_ROWS] == list(BY_WORD)
    assert {row[0] for row in VALUE_ROWS} == {"number", "boolean", "time", "duration", "date", "date_time", "choice"}
    shown_kinds = {kind for _, lang, kind, _ in FENCES if lang in {"flow-error", "json-error"}}
    assert shown_kinds == KINDS
    assert all(f"`{word}`" in text for word in BY_WORD)
    assert all(f"`{kind}`" in text for kind in KINDS)
    logic = {"PARALLEL_BRANCH": "BRANCH", "END": "STOP"}
    lines = [line for _, _, _, example in FENCES for line in parse_lines(example)[0]]
    shown = {name for line in lines if isinstance(line, OutlineLine) and line.form == "logic" for name in line.names}
    assert shown >= {logic.get(name, name) for name in FLOW_LOGIC}


def _spell_again() -> None:
    for name in FILES:
        flows = [
            f"{HEAD}{requirement}\n{decompile(compile_dsl(text, instance_of(name)), instance_of(name))}"
            for requirement, text in read_corpus(name)
        ]
        (CORPUS / f"{name}.flow").write_text("---\n".join(flows), encoding="utf-8")


if __name__ == "__main__":
    _spell_again()
