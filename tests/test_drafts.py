"""Guesses are only ever text, are quick to come, and are right often enough to be worth a pass."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowdsl import Flow, Instance, compile_dsl
from flowdsl.decompile import input_lines, outline_text
from flowdsl.inputs_drafts import inputs_drafts
from flowdsl.outline_drafts import outline_drafts
from flowdsl.scope import Scope
from flowdsl.specialise import input_slots
from flowdsl.tables import owner_of

CORPUS = Path(__file__).parent / "corpus" / "servicenow.flow"


@cache
def instance() -> Instance:
    return Instance.load("servicenow")


@cache
def flows() -> list[tuple[str, Flow]]:
    found = []
    for part in CORPUS.read_text(encoding="utf-8").split("---\n"):
        requirement, _, text = part.removeprefix("# REQUIREMENT: ").partition("\n")
        found.append((requirement, compile_dsl(text, instance())))
    return found[:60]


def hit(guesses: list[str], rest: str, size: int) -> bool:
    """Whether one of the first guesses is right for so many characters."""
    return any(guess[:size] == rest[: len(guess[:size])] and guess for guess in guesses)


def test_outlines_are_mostly_guessed() -> None:
    """At the beginnings of lines and after annotations, where nothing has been written to look up."""
    asked = right = 0
    for requirement, flow in flows():
        text = outline_text(flow, instance())
        guess = outline_drafts(requirement, instance())
        places = [0, *(at + 1 for at, sign in enumerate(text[:-1]) if sign == "\n" or text[at : at + 2] == '" ')]
        for at in places:
            asked += 1
            right += hit(list(guess(text[:at]))[:3], text[at:], 6)
    assert asked > 400 and right > 0.6 * asked


def test_inputs_are_often_guessed() -> None:
    """At the beginning of each word."""
    asked = right = 0
    for requirement, flow in flows():
        scope = Scope.of(flow, instance())
        for at, _ in enumerate(flow.components):
            if owner_of(scope, at)[1] is None or not input_slots(scope, at):
                continue
            text = "".join(f"{line}\n" for line in input_lines(scope, at))
            guess = inputs_drafts(requirement, scope, at)
            for place in [0, *(i for i, sign in enumerate(text) if sign == " ")]:
                asked += 1
                right += hit(list(guess(text[:place]))[:3], text[place:], 4)
    assert asked > 400 and right > 0.25 * asked


@pytest.mark.parametrize("which", range(3))
@settings(max_examples=60)
@given(data=st.data())
def test_any_text_has_guesses_that_are_text(which: int, data: st.DataObject) -> None:
    requirement, flow = flows()[which]
    scope = Scope.of(flow, instance())
    outline = outline_text(flow, instance())
    noise = st.text(st.sampled_from('abc "\\\n{}.:,=ON') | st.characters(), max_size=20)
    text = outline[: data.draw(st.integers(0, len(outline)))] + data.draw(noise)
    assert all(isinstance(guess, str) for guess in outline_drafts(requirement, instance())(text))
    lines = "".join(f"{line}\n" for line in input_lines(scope, 0))
    text = lines[: data.draw(st.integers(0, len(lines)))] + data.draw(noise)
    assert all(isinstance(guess, str) for guess in inputs_drafts(requirement, scope, 0)(text))


@given(requirement=st.text(max_size=60), text=st.text(max_size=40))
def test_any_requirement_will_do(requirement: str, text: str) -> None:
    bare = Instance.model_validate({"name": "bare", "steps": [{"name": "do it", "label": "Do it"}]})
    assert all(isinstance(guess, str) for guess in outline_drafts(requirement, bare)(text))
