"""Instances whose grammars cannot be built, or not ended, are told before any flow is asked for."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import llguidance
import pytest
from hypothesis import given, settings
from strategies import fixed_instances, instances
from test_cli import BANK, run

from decoding import GrammarError, Vocabulary, compile_grammar, matcher, minimum_tokens
from flowdsl.decompile import outline_text
from flowdsl.grammar_check import check_grammars
from flowdsl.instance import Instance
from flowdsl.logic import LOGIC
from flowdsl.outline import pieces
from flowdsl.places import Places
from flowdsl.specialise import inputs_constraint


@cache
def nemo() -> Vocabulary:
    return Vocabulary.from_tekken()


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return nemo()


def step(name: str, count: int = 0, **more: Any) -> dict[str, Any]:
    fields = [{"name": f"{name}_input_{i}", "type": "string", "mandatory": True} for i in range(count)]
    return {"name": name, **{"inputs": fields, **more}}


def office(*steps: dict[str, Any]) -> Instance:
    trigger = {"name": "room_booked", "outputs": [{"name": "room", "type": "string"}]}
    return Instance.from_json({"name": "office", "triggers": [trigger], "steps": [*steps]})


@pytest.mark.parametrize("instance", fixed_instances(), ids=lambda one: one.name)
def test_the_known_instances_have_no_problem(instance: Instance, vocabulary: Vocabulary) -> None:
    report = check_grammars(instance, vocabulary, tables=2)
    assert (report.problems, report.unplaced) == ((), ())
    tried = {one.where.partition(",")[0] for one in report.built}
    assert tried >= {f"step {one.name}" for one in (*instance.steps, *(LOGIC[n] for n in ("IF", "TIMER")))}
    assert tried >= {f"trigger {one.name}" for one in instance.triggers}
    for table in Places(instance, vocabulary).tables[:2]:
        assert any(one.where.endswith(f", table {table}") for one in report.built)


@pytest.mark.parametrize("instance", fixed_instances(), ids=lambda one: one.name)
def test_places_are_offered_by_the_grammars(instance: Instance, vocabulary: Vocabulary) -> None:
    """Each outline is walked from its beginning, piece by piece."""
    places = Places(instance, vocabulary)
    for one in instance.steps:
        place = places.of(one)
        assert place is not None and place.after.components[-1].definition == one.name
        state, constraint = place.after, places.empty.constraint()
        for piece in pieces(outline_text(state.flow, instance, loops=state.loops)):
            walked = compile_grammar(vocabulary, constraint.grammar)
            walked.consume(vocabulary.encode(piece))
            assert walked.accepting
            following = constraint.after(piece)
            assert following is not None
            constraint = following


def test_a_step_is_led_up_to(vocabulary: Vocabulary) -> None:
    """The only way to a part of a car: a search gives a list, a loop its item, and another step the part of that."""
    tables = [{"name": name, "columns": [{"name": "label"}]} for name in ("car", "part", "bill")]
    record = {"type": "record", "mandatory": True}
    steps = [
        step("paint", inputs=[{"name": "what", "reference": "part", **record}]),
        step("pay", inputs=[{"name": "what", "reference": "bill", **record}]),
        step("take_apart", inputs=[{"name": "car", "reference": "car", **record}],
             outputs=[{"name": "part", "type": "record", "reference": "part"}]),
        step("search", inputs=[{"name": "text"}],
             outputs=[{"name": "cars", "type": "records", "reference": "car"}]),
    ]  # fmt: skip
    garage = Instance.from_json({"name": "garage", "steps": steps, "tables": tables})
    place = Places(garage, vocabulary).of(garage.step_by_name["paint"])
    assert place is not None
    assert [one.definition for one in place.after.components] == ["search", "FOREACH", "take_apart", "paint"]
    report = check_grammars(garage, vocabulary)
    assert report.unplaced == ("pay",) and report.problems == ()


def test_more_mandatory_inputs_than_can_be_written(vocabulary: Vocabulary) -> None:
    """Generation itself fails on this step alone; the check names it."""
    instance = office(step("fine", 2), step("endless", 200))
    report = check_grammars(instance, vocabulary)
    assert [problem.where for problem in report.problems] == ["step endless"]
    assert "cannot be ended" in str(report.problems[0]) and "400 tokens" in str(report.problems[0])
    state = Places(instance, vocabulary).of(instance.step_by_name["endless"])
    assert state is not None
    with pytest.raises(GrammarError, match="no end within"):
        minimum_tokens(vocabulary, inputs_constraint(state.after.scope(), 0))


def test_a_limit_of_the_engine(vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's own limits take names by the million, so they are made smaller here; one table exceeds them."""
    wide = {"name": "wide", "columns": [{"name": f"column_{i}", "type": "string"} for i in range(3000)]}
    named = [{"name": "table", "type": "table_name", "mandatory": True}, {"name": "where", "type": "conditions"}]
    data = {"name": "w", "steps": [step("log", 1), step("find", inputs=named)], "tables": [wide]}
    instance = Instance.from_json(data)
    assert check_grammars(instance, vocabulary).problems == ()
    small = llguidance.LLParserLimits(initial_lexer_fuel=20_000, verbose_errors=False)
    monkeypatch.setattr(matcher, "LIMITS", small)
    report = check_grammars(instance, Vocabulary.from_tekken())  # which has built nothing yet
    assert {problem.where for problem in report.problems} == {"step find", "step find, table wide"}
    assert "cannot be built" in report.problems[0].message


def test_the_command(tmp_path: Path) -> None:
    fine = run("instance", "validate", "--grammars", BANK)
    assert (fine.exit_code, fine.stdout) == (0, "")
    assert "grammars built, 0 problems" in fine.stderr and "the largest: step " in fine.stderr
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(office(step("fine", 2), step("endless", 200)).model_dump()))
    result = run("instance", "validate", "--grammars", bad)
    assert result.exit_code == 1
    assert result.stdout.startswith(f"{bad}: step endless: ") and len(result.stdout.splitlines()) == 1
    assert run("instance", "validate", bad).exit_code == 0


@settings(max_examples=25)
@given(instance=instances())
def test_any_valid_instance_has_grammars(instance: Instance) -> None:
    """Whatever names, types and tables an instance that validates may have."""
    assert check_grammars(instance, nemo(), tables=2).problems == ()
