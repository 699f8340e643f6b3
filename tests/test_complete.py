"""Completeness: every valid flow can come out, but for the bounds that `docs/rules.md` states.

Each token of a flow's canonical text has its mask bit on, in both stages, with annotations that are
spans of a requirement. A refusal must be explained by a bound that the refused line itself exceeds.
"""

import os
import random
import re
from collections.abc import Iterator

import pytest
from accept import Refusal, refusals
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Drawn, instances_with_flows
from test_corpus import CASES, instance_of
from test_sound import vocabulary

from flowdsl.check import check_flow
from flowdsl.compile import compile_dsl
from flowdsl.instance import Instance, table_input
from flowdsl.model import Component, Flow, Trigger
from flowdsl.scope import PILL, Scope, record_input
from flowdsl.specialise import input_slots, tables_of
from flowdsl.syntax import Clause, InputLine, OutlineLine, Value, parse_lines
from flowdsl.tables import header_input, owner_of
from flowdsl.typed import held
from grammars.inputs import (
    COMPARED_DEPTH,
    FIELD_DEPTH,
    MAX_CLAUSES,
    PILL_DEPTH,
    TEXT_CHUNKS,
    TEXT_LENGTH,
    clashes,
)
from grammars.names import is_open_name, is_open_walk

REQUIREMENT = 'When Ann "A." signs (twice!), tell {{her}}: the file\\folder is naïve 日本, and log it 3 times'
_DECLARED = set("string integer decimal boolean date date_time duration time choice list html journal".split())


# -- bounds ------------------------------------------------------------------------------------


def bounds(refused: Refusal, flow: Flow, instance: Instance) -> Iterator[str]:
    """The bounds of generation that the refused lines exceed (several, where a step cannot be filled at all)."""
    lines, issues = parse_lines(refused.line)
    assert not issues
    for line in lines:
        if isinstance(line, OutlineLine):
            yield from _declared(line, flow, instance)
        else:
            yield from _written(line, refused, flow, instance)


def _written(line: InputLine, refused: Refusal, flow: Flow, instance: Instance) -> Iterator[str]:
    at = None if refused.where == "trigger" else int(refused.where) - 1
    scope = Scope.of(flow, instance)
    slots = {slot.name: slot for slot in input_slots(scope, at)}
    owner, definition = owner_of(scope, at)
    assert definition is not None
    named = header_input(definition)
    fields = {field.name: field for field in definition.inputs}
    table, record = table_input(definition.inputs), record_input(definition)
    if table is not None and record is not None and at is not None and owner.get(table.name) is not None:
        between = [field.name for field in definition.inputs]
        apart = between.index(table.name) - between.index(record.name)
        if owner.get(record.name) is None:
            if apart > 1:
                yield "a table without a record stands where the record would"
        elif apart > 0 and scope.implied_table(at) != owner.get(table.name):
            yield "a table other than the one that the record implies"
    if isinstance(line.value, Value):
        if line.name not in slots and named is not None and owner.get(named.name) is None:
            yield "a step that names no table takes no record of an unknown one"
        if line.value.form == "pill" and line.name in slots and slots[line.name].slot.kind == "record":
            pill = PILL.fullmatch(line.value.text)
            if pill is not None and at is not None and scope.resolve(pill.group(1), at).table is None:
                yield "a record of an unknown table"
        yield from _value(line.value, PILL_DEPTH, instance)
        if line.name in slots and slots[line.name].slot.kind == "list":
            yield from _names(line.value.text)
        return
    table = slots[line.name].table if line.name in slots else None
    for clause in line.value or ():
        if _kind(clause, table, scope, at) == "list":
            yield from (bound for value in clause.values for bound in _names(value.text))
    yield from _clauses(line.value or (), table, instance)
    assert owner is not None and (named is None or named.name in fields)


def _kind(clause: Clause, table: str | None, scope: Scope, at: int | None) -> str | None:
    """What the left side of a clause holds, where it is a pill or a column of the table itself."""
    if isinstance(clause.left, str):
        return None if at is None else scope.resolve(clause.left.strip("{}"), at).kind
    column = scope.instance.columns(table).get(clause.left[0]) if table is not None and len(clause.left) == 1 else None
    return held(column).kind if column is not None else None


def _names(text: str) -> Iterator[str]:
    """A list of names."""
    names = [name for name in re.split(",", PILL.sub("x", text))]
    if len(names) > 10 or any(len(name) > 80 or not name for name in names):
        yield "names in a list"


def _declared(line: OutlineLine, flow: Flow, instance: Instance) -> Iterator[str]:
    """Outline lines: inputs and outputs of subflows, tables that are left out."""
    step = instance.step_by_name.get(line.names[0]) if line.form == "step" else None
    if step is not None and len(line.names) == 1 and header_input(step) is not None and record_input(step) is not None:
        yield "a step that names no table takes no record of an unknown one"
    for at, component in enumerate(flow.components):
        for field in step.inputs if step is not None and component.definition == step.name else ():
            pill = PILL.fullmatch(component.get(field.name) or "") if field.type == "record" else None
            if pill is not None and Scope.of(flow, instance).resolve(pill.group(1), at).table is None:
                yield "a record of an unknown table"
    if line.form in {"input", "output"}:
        if not is_open_name(line.names[0]):
            yield "declared names hold no signs of a query"
        if line.names[1] not in _DECLARED and len(line.names) < 3 and not instance.is_open:
            yield "declared types are the common ones, of a named table"
    held = [item for items in (flow.inputs, flow.outputs) if items for item in items.items]
    if len(held) > 12:
        yield "twelve declared items"
    if instance.is_open and any(not is_open_name(name) for name in line.names[1:]):
        yield "open names hold no signs of a query"


def _value(value: Value, depth: int, instance: Instance) -> Iterator[str]:
    text = value.text
    if value.form == "raw" and text and not re.fullmatch(r"javascript:gs\.\w{1,40}\([^()^@{}\\]{0,80}\)", text):
        yield "raw values that are no moment"
    if value.form in {"pill", "text"}:
        for pill in PILL.findall(text):
            if pill.count(".") - 1 > (3 if instance.is_open else depth):
                yield "columns in a pill"
        if any(len(part) > TEXT_LENGTH for part in PILL.split(text)):
            yield "length of text"
        if text.count("{") > TEXT_CHUNKS:
            yield "pills and braces in a text"
    if value.form == "words":
        if re.search(r"\d{41}", text):
            yield "digits of a number"
    if instance.is_open and value.form in {"words", "walk"}:
        if not all(map(is_open_name, value.names)):
            yield "open names hold no signs of a query"


def _clauses(clauses: tuple[Clause, ...], table: str | None, instance: Instance) -> Iterator[str]:
    if len(clauses) > MAX_CLAUSES:
        yield "conditions in a query"
    columns = tables_of(instance).columns(table) if table is not None and not instance.is_open else {}
    if len(columns) > 62 and len(clauses) > 3 and clauses[-1].join == ",":
        yield "three fields beyond the usual ones in a template of a wide table"
    for clause in clauses:
        compared = isinstance(clause.left, str)
        if compared and clause.left.count(".") - 1 > COMPARED_DEPTH:
            yield "columns in a compared pill"
        if not compared and len(clause.left) > FIELD_DEPTH:
            yield "columns of a condition"
        if not compared and clause.left[0] in clashes(columns):
            yield "column names that another one continues as an operator"
        if instance.is_open and not compared and not is_open_walk(clause.left):
            yield "open fields do not read as operators"
        if clause.form == "several" and len(clause.values) > 16:
            yield "values in a list"
        if clause.word in {"SAMEAS", "NSAMEAS"} or clause.form == "offset" or "_FIELD" in clause.word:
            if any(len(value.names) > FIELD_DEPTH for value in clause.values) or compared:
                yield "columns of a condition"
        for value in clause.values:
            if clause.form in {"several", "between"} and re.match("[=<>]|!=|_HIERARCHY", value.text):
                yield "values of a list or a range do not read as the rest of an operator"
            yield from _value(value, PILL_DEPTH if clause.join == "," else COMPARED_DEPTH, instance)


# -- flows -------------------------------------------------------------------------------------


def annotated(flow: Flow, seed: int) -> Flow:
    """The flow with spans of whole words of the requirement as annotations."""
    rng = random.Random(seed)
    marks = [match.span() for match in re.finditer(r"\w+|[^\w\s]", REQUIREMENT)]

    def one(owner: "Trigger | Component") -> "Trigger | Component":
        first, last = sorted(rng.choices(marks, k=2))
        return owner.model_copy(update={"annotation": REQUIREMENT[first[0] : last[1]]})

    trigger = one(flow.trigger) if flow.trigger is not None else None
    return flow.model_copy(update={"trigger": trigger, "components": tuple(map(one, flow.components))})


@pytest.mark.parametrize("name", ["smollm2", "nemo"])
@pytest.mark.parametrize(("instance", "requirement", "text"), CASES)
def test_corpus_comes_out(instance: str, requirement: str, text: str, name: str) -> None:
    known = instance_of(instance)
    assert [*map(str, refusals(compile_dsl(text, known), known, vocabulary(name), requirement))] == []


THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"


@settings(max_examples=10_000 if THOROUGH else 40)
@given(instances_with_flows(canonical=True), st.sampled_from(["smollm2", "nemo"]), st.integers(0, 99))
def test_valid_flows_come_out(drawn: Drawn, name: str, seed: int) -> None:
    instance, data = drawn
    flow = annotated(Flow.from_json(data), seed)
    assert check_flow(flow, instance) == []
    for refused in refusals(flow, instance, vocabulary(name), REQUIREMENT):
        assert list(bounds(refused, flow, instance)), str(refused)
