"""Tuning: what is trained is what decoding reads, and a run goes on where it was stopped.

With the embedded model's vocabulary, and with Mistral-Nemo's on a small Mistral of random weights.
"""

import copy
import json
import random
from dataclasses import replace
from pathlib import Path

import mistral_common
import pytest
import torch
from safetensors.torch import load_file
from tiny import tiny_llama, tiny_mistral
from transformers import AutoTokenizer
from transformers.integrations.mistral import convert_tekken_tokenizer

from decoding import Model, embedded_path, load_model
from flowdsl import check_flow, generate_flow
from flowdsl.ask import Prompts, prompt_start
from flowdsl.authored import read_authored
from flowdsl.compile import without_inputs
from flowdsl.decompile import input_lines, outline_text
from flowdsl.errors import UsageError
from flowdsl.outline import Outline, pieces, read_outline
from flowdsl.pairs import Pair, instance_for, read_pairs
from flowdsl.renamed import Renamed
from flowdsl.retrieve import Search
from flowdsl.scope import Scope
from flowdsl.sequences import IGNORED, INVENTED, Variation, token_sequence
from flowdsl.specialise import input_slots
from flowdsl.tables import owner_of
from flowdsl.train import Recipe, export_adapter, sequence_loss, train
from flowdsl.tuned import STEPS, TABLES, TRIGGERS

AS_FOUND = Variation(missing=0.0, shuffled=0.0, steps=99, respelled=0.0, renamed=0.0)
TUNED = {"prompts": "tuned"}
TEKKEN = Path(mistral_common.__file__).parent / "data" / "tekken_240718.json"


def _fitting(pair: Pair) -> bool:
    """Whether all that a flow uses is among the suggestions, so that a request has the prompt it was tuned on."""
    names = Search.of(instance_for(pair.instance)).suggest(pair.requirement, STEPS, TRIGGERS, TABLES)
    offered = {item.name for items in (names.triggers, names.steps, names.tables) for item in items}
    flow, scope = pair.compiled(), Scope.of(pair.compiled(), instance_for(pair.instance))
    used = {c.definition for c in flow.components if not c.is_logic} | {scope.table(at) for at in flow.owners} - {None}
    return used | ({flow.trigger.type} if flow.trigger else set()) <= offered


PAIRS = [pair for pair in read_pairs("data/dev.jsonl")[:30] if _fitting(pair)][:3]
EDITS = [pair for pair in read_pairs("data/train.jsonl") if pair.prior is not None][:2]


@pytest.fixture(scope="module")
def small() -> Model:
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(embedded_path())
    return Model.of(tiny_llama(len(tokenizer), 4096), tokenizer, "small", TUNED)


@pytest.fixture(scope="module")
def nemo() -> Model:
    return Model.of(tiny_mistral(131072), convert_tekken_tokenizer(str(TEKKEN)), "tiny Nemo", TUNED)


def _plain_loss(model: Model, prompt: list[int], written: list[int]) -> float:
    """The summed cross entropy (nats) of a text after a prompt, and of its end."""
    written = [*written, model.vocabulary.eos[0]]
    with torch.no_grad():
        logits = model.network(torch.tensor([[*prompt, *written[:-1]]])).logits[0, len(prompt) - 1 :]
    return float(torch.nn.functional.cross_entropy(logits.float(), torch.tensor(written), reduction="sum"))


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.id)
@pytest.mark.parametrize("name", ["small", "nemo"])
def test_one_sequence_is_as_good_as_one_for_each_step(name: str, pair: Pair, request: pytest.FixtureRequest) -> None:
    """Its loss is the sum of those of the prompts that generation uses, each read by itself."""
    model = request.getfixturevalue(name)
    instance, flow, words = instance_for(pair.instance), pair.compiled(), model.vocabulary
    scope = Scope.of(flow, instance)
    bare = without_inputs(flow, instance, flow.owners)
    prompts = Prompts(model, pair.requirement, instance, instance)
    outline = [token for piece in pieces(outline_text(flow, instance)) for token in words.encode(piece)]
    expected = _plain_loss(model, prompts.outline, outline)
    for at in flow.owners:
        before = Scope.of(bare, instance, scope.item_tables)
        if owner_of(before, at)[1] is not None and input_slots(before, at):
            lines = "".join(f"{line}\n" for line in input_lines(scope, at))
            expected += _plain_loss(model, prompts.inputs(bare, scope.item_tables, at), words.encode(lines))
    sequence = token_sequence(pair, words, prompt_start(model), random.Random(1), AS_FOUND)
    with torch.no_grad():
        assert float(sequence_loss(model.network, sequence)) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("pair", EDITS, ids=lambda pair: pair.id)
def test_an_edit_is_not_asked_what_it_keeps(small: Model, pair: Pair) -> None:
    """Of the inputs, only those that the outline says may change are written."""
    sequence = token_sequence(pair, small.vocabulary, [], random.Random(1), AS_FOUND)
    rows = {row for row, label in zip(sequence.rows, sequence.labels, strict=True) if row and label != IGNORED}
    assert len(rows) < len(pair.compiled().owners)
    text = small.vocabulary.decode(sequence.tokens)
    assert f"Requirement: {pair.requirement}\n" in text and "Before:\n" in text


def test_under_invented_names_the_same_is_asked_for(small: Model) -> None:
    """What is trained is a flow of the renamed instance, and the labels are there to say what its names are."""
    pair = read_authored(Path(__file__).parent / "corpus/smart_home.flow", "dev", "smart_home")[0]
    instance = instance_for(pair.instance)
    sequence = token_sequence(pair, small.vocabulary, [], random.Random(1), replace(AS_FOUND, renamed=1.0))
    outline = [label for label, row in zip(sequence.labels, sequence.rows, strict=True) if not row and label != IGNORED]
    written, text = small.vocabulary.decode(outline[:-1]), small.vocabulary.decode(sequence.tokens)
    trigger = instance.trigger_by_name[pair.compiled().trigger.type]
    others = [Renamed.of(instance, f"opaque-{number}") for number in range(INVENTED)]
    [other] = [other for other in others if other.triggers[trigger.name] in written]
    assert f"{other.triggers[trigger.name]} ({trigger.label})" in text
    flow = read_outline(written, Outline(other.instance, requirement=pair.requirement)).flow
    assert outline_text(other.back.flow(flow), instance) == outline_text(pair.compiled(), instance)


@pytest.mark.parametrize("name", ["small", "nemo"])
def test_a_run_goes_on_where_it_was_stopped(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    model = request.getfixturevalue(name)
    heard: list[float] = []
    recipe = Recipe(rank=4, scale=8, rate=3e-2, warmup=2, decay=0.0, batch=2, longest=4000, minutes=9.0)
    for steps in (4, 20):
        train(_fresh(model), PAIRS, tmp_path / "run", Recipe(**{**vars(recipe), "steps": steps}),
              lambda told: heard.append(told["step"]))  # fmt: skip
    assert heard == list(range(1, 21))
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [5, 10, 15, 20]
    assert log[-1]["loss"] < log[0]["loss"]
    assert (tmp_path / "run" / "loss.svg").read_text().startswith("<?xml")
    export_adapter(tmp_path / "run", tmp_path / "shipped")
    weights = load_file(tmp_path / "shipped" / "adapter_model.safetensors")
    assert weights and all(weight.dtype == torch.bfloat16 for weight in weights.values())


def test_what_was_tuned_is_loaded_and_used(nemo: Model, tmp_path: Path) -> None:
    nemo.network.save_pretrained(tmp_path / "base")
    nemo.tokenizer.save_pretrained(tmp_path / "base")
    base = load_model(tmp_path / "base", dtype=torch.float32, device="cpu")
    train(base, PAIRS, tmp_path / "run", Recipe(rank=4, scale=8, batch=2, longest=4000, steps=2))
    tuned = load_model(tmp_path / "base", tmp_path / "run", dtype=torch.float32, device="cpu")
    assert tuned.metadata["prompts"] == "tuned" and tuned.metadata["step"] == "2"
    flow = generate_flow("Every day, log hello", model=tuned, max_tokens=150).flow
    assert check_flow(flow, instance_for("servicenow")) == []


def test_nothing_to_train_on(small: Model, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pairs"):
        train(small, [], tmp_path, Recipe())
    with pytest.raises(UsageError, match="more than 20 tokens"):
        train(_fresh(small), PAIRS, tmp_path, Recipe(longest=20))


def _fresh(model: Model) -> Model:
    """The same weights in a network of its own, since tuning adds layers to it."""
    return Model.of(copy.deepcopy(model.network), model.tokenizer, model.name, TUNED)
