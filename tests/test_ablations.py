"""Other names, more steps, other suggestions, no grammar."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import Drawn, instances_with_flows

from decoding import Model
from flowdsl import Flow, check_flow, compile_dsl
from flowdsl.authored import read_authored
from flowdsl.distractors import AmongOthers, with_distractors
from flowdsl.errors import UsageError
from flowdsl.evaluate import judged
from flowdsl.generate import generate_flow
from flowdsl.instance import Instance
from flowdsl.pairs import Pair, instance_for, read_pairs
from flowdsl.renamed import STYLES, Renamed, opaque, respelled
from flowdsl.systems import Answer, Generator, UnderOtherNames, chosen_names
from flowdsl.tuned import STEPS, suggested
from flowdsl.unconstrained import Unconstrained, headed

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("servicenow", "bank", "smart_home")


@cache
def pairs() -> tuple[Pair, ...]:
    corpus = (pair for name in NAMES for pair in read_authored(ROOT / f"tests/corpus/{name}.flow", "dev", name))
    return (*corpus, *read_pairs(ROOT / "data/dev.jsonl"))


class Knowing:
    """Gives the reference itself, and remembers what it was asked."""

    settings: Mapping[str, Any] = {"system": "knowing"}

    def __init__(self) -> None:
        self.asked: list[tuple[Pair, Instance]] = []

    def answer(self, pair: Pair, instance: Instance) -> Answer:
        self.asked.append((pair, instance))
        return Answer.of(compile_dsl(pair.flow, instance), instance)


# -- other names -------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_every_name_is_another(style: str) -> None:
    for name in NAMES:
        old, new = instance_for(name), Renamed.of(instance_for(name), style).instance
        assert Instance.from_json(new.model_dump()) is not None
        for kind in ("steps", "triggers", "tables"):
            before, after = getattr(old, kind), getattr(new, kind)
            assert [item.label for item in before] == [item.label for item in after]
            same = {item.name for item in before} & {item.name for item in after}
            assert same <= {"sys_email", "sc_task"}
        columns = {column.name for table in old.tables for column in table.columns}
        assert columns & {column.name for table in new.tables for column in table.columns} <= {"sys_id"}


@pytest.mark.parametrize("style", STYLES)
def test_renamed_references_are_right_and_come_back(style: str) -> None:
    for pair in pairs():
        other = Renamed.of(instance_for(pair.instance), style)
        flow = pair.compiled()
        renamed = other.flow(flow)
        assert check_flow(renamed, other.instance) == []
        assert other.back.flow(renamed) == flow
        assert compile_dsl(other.pair(pair).flow, other.instance) == renamed
        old = {component.definition for component in flow.components if not component.is_logic}
        assert not old & {component.definition for component in renamed.components} - {"placeholder"}


@given(instances_with_flows(), st.sampled_from(sorted(STYLES)))
def test_any_flow_comes_back(case: Drawn, style: str) -> None:
    instance, flow = case[0], Flow.from_json(case[1])
    other = Renamed.of(instance, style)
    renamed = other.flow(flow)
    assert other.back.flow(renamed) == flow
    assert check_flow(renamed, other.instance) == []


@given(st.text(max_size=30))
def test_new_names_are_names(name: str) -> None:
    assert respelled(name).isidentifier() or not respelled(name).isascii()
    assert opaque(name).isidentifier() and opaque(name) == opaque(name)


def test_answers_under_other_names_are_judged_under_the_old() -> None:
    pair = next(pair for pair in pairs() if "{{trigger." in pair.flow and " AND " in pair.flow)
    asked = Knowing()
    record = judged(pair, UnderOtherNames(asked, "opaque"), instance_for(pair.instance))
    assert record.figures["exact"] == 1.0 and record.candidate == pair.compiled().to_json() and record.issues == ()
    ((other, instance),) = asked.asked
    assert other.requirement == pair.requirement and other.flow != pair.flow and instance.name == "servicenow-opaque"


# -- more steps --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_more_steps_change_nothing_else(name: str) -> None:
    few, many = with_distractors(instance_for(name), 40), with_distractors(instance_for(name), 1500)
    own = len(instance_for(name).steps)
    assert len(few.steps) == own + 40 and many.steps[: len(few.steps)] == few.steps
    assert Instance.from_json(many.model_dump()) is not None
    labels = [step.label.casefold() for step in many.steps if step.label]
    assert len(set(labels)) == len(labels)
    for pair in pairs():
        if pair.instance == name:
            assert compile_dsl(pair.flow, few) == pair.compiled()


def test_there_are_only_so_many_steps() -> None:
    with pytest.raises(UsageError, match="further steps, not 1000000"):
        with_distractors(instance_for("bank"), 1_000_000)


def test_steps_of_others_are_renamed_as_well() -> None:
    asked = Knowing()
    system = AmongOthers(UnderOtherNames(asked, "respelled"), 10)
    record = judged(pairs()[0], system, instance_for("servicenow"))
    assert record.figures["exact"] == 1.0 and len(asked.asked[0][1].steps) == 10 + len(instance_for("servicenow").steps)
    assert all(step.name.startswith("acme") for step in asked.asked[0][1].steps)
    assert system.settings == {"system": "knowing", "rename": "respelled", "distractors": 10}


# -- suggestions -------------------------------------------------------------------------------


def test_perfect_suggestions_begin_with_what_is_needed() -> None:
    for pair in pairs()[::13]:
        instance, flow = instance_for(pair.instance), pair.compiled()
        names, found = chosen_names("perfect", pair, instance), suggested(instance, pair.requirement)
        assert names is not None
        wanted = {c.definition for c in flow.components if not c.is_logic} - {"placeholder"}
        assert {step.name for step in names.steps[: len(wanted)]} == wanted
        assert flow.trigger is None or names.triggers[0].name == flow.trigger.type
        sizes = [len(names.triggers), len(names.steps), len(names.tables)]
        assert sizes == [len(found.triggers), len(found.steps), len(found.tables)] or max(sizes) > STEPS
        assert len(set(names.steps)) == len(names.steps)
    assert chosen_names("retrieved", pairs()[0], instance_for("servicenow")) is None
    none = chosen_names("none", pairs()[0], instance_for("servicenow"))
    assert none is not None and (none.triggers, none.steps, none.tables) == ((), (), ())


# -- with the model ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned() -> Model:
    import torch

    from decoding import load_tuned
    from flowdsl.generate import ADAPTER

    torch.set_num_threads(1)
    return load_tuned(ADAPTER, dtype=torch.float32)


def test_suggestions_reach_the_prompt(tuned: Model) -> None:
    pair = next(pair for pair in pairs() if pair.instance == "smart_home")
    house = instance_for("smart_home")
    given = {kind: Generator(tuned, {}, {}, kind).answer(pair, house) for kind in ("retrieved", "none")}
    plain = generate_flow(pair.requirement, house, tuned)
    assert given["retrieved"].flow == plain.flow
    assert given["none"].took["prompt_tokens"] < given["retrieved"].took["prompt_tokens"]
    assert all(answer.issues == () for answer in given.values())


def test_unconstrained_writes_what_generate_writes(tuned: Model) -> None:
    """Stage by stage the same text as transformers' own greedy decoding."""
    import torch

    from flowdsl.ask import Prompts

    pair = min(pairs(), key=lambda pair: len(pair.requirement) if pair.instance == "servicenow" else 10**6)
    instance = instance_for(pair.instance)
    answer = Unconstrained(tuned, {}, 200).answer(pair, instance)
    prompt = Prompts(tuned, pair.requirement, instance, instance).outline
    ids = torch.tensor([prompt])
    out = tuned.network.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=200, do_sample=False, pad_token_id=0
    )
    written = tuned.tokenizer.decode(out[0, len(prompt) :], skip_special_tokens=True)
    heads = [line for line in answer.text.splitlines() if not line.startswith("  ")]
    assert heads == written.splitlines()
    assert len(heads) < len(answer.text.splitlines()) and answer.flow is not None
    assert answer.took["passes"] > answer.took["output_tokens"] / max(1, len(heads))
    assert answer.took["forced_tokens"] == 0


def test_heads_are_counted_as_the_compiler_counts_them() -> None:
    for pair in pairs()[::11]:
        flow = pair.compiled()
        heads = [at for _, at, begins in headed(pair.flow) if begins]
        assert heads == flow.owners


def test_what_cannot_be_read_begins_nothing() -> None:
    lines = 'ON "x" daily\n"a" log log log log\n"b" IF\nEND\n"c" no_such_step\n'
    assert [(at, begins) for _, at, begins in headed(lines)] == [
        (None, True), (None, False), (0, True), (0, False), (1, True),
    ]  # fmt: skip
    assert [*headed("")] == [("", None, False)]
