"""`generate_flow` with a random model: log-probabilities, alternatives, faults, interruptions, threads.

Its flows are odd; they are valid all the same, or this would raise. It is one of float64: passes of other shapes
round differently, which must not decide anything.
"""

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from recompute import recompute
from strategies import fixed_instances
from tiny import tiny_llama
from transformers import AutoTokenizer

from decoding import Constraint, Decoded, DecodeError, Model, Row, embedded_path
from flowdsl import FlowResult, Instance, check_flow, compile_dsl, edit_flow, fill_inputs, generate, generate_flow
from flowdsl.errors import BudgetTooSmall

REQUIREMENTS = (
    "Every evening, close the blinds, then lower the heating",
    "If the washing machine is done, tell me on the phone",
    "When the door opens at night, ring the alarm and switch on all lamps",
    "When a room is empty for ten minutes, switch off the lamp there and send me a message",
)
ENOUGH = 160


@pytest.fixture(scope="module")
def home() -> Instance:
    return fixed_instances()[2]


@pytest.fixture(scope="module")
def model() -> Model:
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(embedded_path())
    return Model.of(tiny_llama(len(tokenizer), 4096).double(), tokenizer, "tiny")


def broken(model: Model, spoil: Any) -> Model:
    network = tiny_llama(model.vocabulary.size, 4096).double()
    with torch.no_grad():
        spoil(network)
    return Model.of(network, model.tokenizer, "broken")


def outcome(result: FlowResult) -> tuple[str, str, float]:
    return result.dsl, result.stats.finish_reason, round(result.logprob, 6)


# -- log-probabilities --------------------------------------------------------------------------


@dataclass
class Decodings:
    """What was decoded for a flow: the real functions run, and are listened to."""

    heard: list[tuple[str, list[int], Constraint, Decoded]]

    def used(self) -> list[tuple[str, list[int], Constraint, Decoded]]:
        """The last outline, and the inputs: one by one, if they took too much side by side."""
        inputs = [heard for heard in self.heard if heard[0] == "one"]
        outline = [heard for heard in self.heard if heard[0] == "outline"][-1]
        return [outline, *(inputs or [heard for heard in self.heard if heard[0] == "row"])]

    @classmethod
    def of(cls, monkeypatch: pytest.MonkeyPatch) -> "Decodings":
        heard: list[tuple[str, list[int], Constraint, Decoded]] = []
        decode, decode_batch = generate.decode, generate.decode_batch

        def one(model: Model, prompt: list[int], constraint: Constraint, **options: Any) -> Decoded:
            decoded = decode(model, prompt, constraint, **options)
            kind = "outline" if decoded.text.startswith("ON ") else "one"
            heard.append((kind, [*prompt], constraint, decoded))
            return decoded

        def many(model: Model, prefix: list[int], rows: list[Row], **options: Any) -> list[Decoded]:
            batch = decode_batch(model, prefix, rows, **options)
            heard.extend(("row", [*prefix, *r.prompt], r.constraint, d) for r, d in zip(rows, batch, strict=True))
            return batch

        monkeypatch.setattr(generate, "decode", one)
        monkeypatch.setattr(generate, "decode_batch", many)
        return cls(heard)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_the_logprob_is_that_of_one_plain_pass(
    home: Instance, model: Model, monkeypatch: pytest.MonkeyPatch, requirement: str, temperature: float
) -> None:
    decodings = Decodings.of(monkeypatch)
    result = generate_flow(requirement, home, model, max_tokens=ENOUGH, temperature=temperature, seed=5)
    plain = [recompute(model, *heard) for _, *heard in decodings.used()]
    logprobs = [value for one in plain for value in one.logprobs]
    removed = [value for one in plain for value in one.removed]
    assert [decision.logprob for decision in result.decisions] == pytest.approx(logprobs, abs=1e-4)
    assert result.logprob == pytest.approx(sum(logprobs), abs=1e-3) and result.logprob < 0
    assert result.masked_mass.mean == pytest.approx(sum(removed) / len(removed), abs=1e-4)
    assert result.masked_mass.max == pytest.approx(max(removed), abs=1e-4)


@pytest.mark.parametrize("requirement", REQUIREMENTS)
def test_every_step_has_a_confidence(home: Instance, model: Model, requirement: str) -> None:
    result = generate_flow(requirement, home, model, max_tokens=ENOUGH)
    confidence = result.confidence
    assert list(confidence) == ["trigger", *range(1, len(result.flow.components) + 1)]
    assert all(0 < value <= 1 for value in confidence.values())
    # the log-probability can be put together again from the steps'
    counts = {where: sum(one.where == where for one in result.decisions) for where in confidence}
    whole = sum(count * math.log(confidence[where]) for where, count in counts.items())
    assert whole == pytest.approx(result.logprob, abs=1e-6)


def test_what_an_edit_keeps_was_not_chosen(home: Instance, model: Model) -> None:
    prior = compile_dsl('ON "At night" sun_moves\n  event: Sunset\n1 "close it" close_garage\n', home)
    filled = fill_inputs(prior, home, model, steps=[0])
    assert {decision.where for decision in filled.decisions} <= {"trigger"}
    assert filled.confidence[1] == 1.0 and filled.confidence["trigger"] < 1.0
    edited = edit_flow(prior, "Also flash the lights in the kitchen", instance=home, model=model, max_tokens=ENOUGH)
    steps = {*range(1, len(edited.flow.components) + 1)}
    assert set(edited.confidence) == (steps if edited.flow.trigger is None else {"trigger", *steps})


# -- several flows ------------------------------------------------------------------------------


def test_n_best_are_distinct_valid_and_sorted(home: Instance, model: Model) -> None:
    alone = generate_flow(REQUIREMENTS[0], home, model, max_tokens=ENOUGH)
    result = generate_flow(REQUIREMENTS[0], home, model, max_tokens=ENOUGH, n=4, seed=2)
    assert outcome(result) == outcome(alone)
    flows = [result, *result.alternatives]
    assert len(flows) == len({one.dsl for one in flows}) == 4
    assert all(not check_flow(one.flow, home) for one in flows)
    logprobs = [one.logprob for one in result.alternatives]
    assert logprobs == sorted(logprobs, reverse=True) and max(logprobs) < 0
    again = generate_flow(REQUIREMENTS[0], home, model, max_tokens=ENOUGH, n=4, seed=2)
    assert [outcome(one) for one in (again, *again.alternatives)] == [outcome(one) for one in flows]


def test_an_outline_as_short_as_the_shortest_may_need_more(model: Model) -> None:
    """A wait is as short to say as the end, but has inputs: within the least budget it must not be taken for good."""
    only = Instance.from_json({"name": "o", "triggers": [{"name": "rings"}], "steps": [{"name": "open_door"}]})
    with pytest.raises(BudgetTooSmall) as caught:
        generate_flow("When open, open", only, model, max_tokens=1)
    least = int(str(caught.value).split()[-1])
    for seed in range(20):
        result = generate_flow("When open, open", only, model, max_tokens=least, temperature=2.0, seed=seed)
        assert result.stats.output_tokens <= least and not check_flow(result.flow, only)


# -- faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_logits_that_say_nothing_are_one_clear_error(home: Instance, model: Model, value: float) -> None:
    def spoil(network: Any) -> None:
        network.lm_head.bias = torch.nn.Parameter(torch.full((model.vocabulary.size,), value, dtype=torch.float64))

    with pytest.raises(DecodeError, match="not numbers") as caught:
        generate_flow(REQUIREMENTS[0], home, broken(model, spoil), max_tokens=ENOUGH)
    assert "\n" not in str(caught.value)
    assert outcome(generate_flow(REQUIREMENTS[0], home, model, max_tokens=ENOUGH))  # others are not concerned


@pytest.mark.parametrize("requirement", REQUIREMENTS[:3])
def test_nonsense_drafts_change_nothing(
    home: Instance, model: Model, monkeypatch: pytest.MonkeyPatch, requirement: str
) -> None:
    plain = generate_flow(requirement, home, model, max_tokens=ENOUGH)

    def nonsense(*_: object) -> Any:
        return lambda text: [text[::-1], "\x00<|im_end|>", "ON ON ON", '"', "END\n" * 9, "🙂"]

    monkeypatch.setattr(generate, "outline_drafts", nonsense)
    monkeypatch.setattr(generate, "inputs_drafts", nonsense)
    misled = generate_flow(requirement, home, model, max_tokens=ENOUGH)
    assert outcome(misled) == outcome(plain)
    assert misled.stats.accepted_tokens <= misled.stats.drafted_tokens


# -- interruptions ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("event", ["trigger", "step", "inputs", "done"])
def test_a_callback_may_end_it_and_leaves_no_trace(
    home: Instance, model: Model, event: str, kind: type[BaseException]
) -> None:
    usual = outcome(generate_flow(REQUIREMENTS[0], home, model, max_tokens=ENOUGH))

    def interrupt(told: Mapping[str, Any]) -> None:
        if told["event"] == event:
            raise kind("enough")

    with pytest.raises(kind, match="enough"):
        generate_flow(REQUIREMENTS[0], home, model, max_tokens=ENOUGH, on_event=interrupt)
    assert outcome(generate_flow(REQUIREMENTS[0], home, model, max_tokens=ENOUGH)) == usual
    assert not torch.is_inference_mode_enabled()


def test_events_tell_the_flow(home: Instance, model: Model) -> None:
    told: list[Mapping[str, Any]] = []
    result = generate_flow(REQUIREMENTS[0], home, model, max_tokens=ENOUGH, on_event=told.append)
    kinds = [event["event"] for event in told]
    assert kinds[0] == "trigger" and kinds[-1] == "done" and told[-1]["text"] == result.dsl
    assert kinds.count("step") == len(result.flow.components)


# -- threads ------------------------------------------------------------------------------------


def test_threads_share_a_model(home: Instance, model: Model) -> None:
    """Each gives what it gives alone, greedy and sampled, while the others come and go in the same caches."""
    tasks = [(requirement, temperature) for requirement in REQUIREMENTS[:3] for temperature in (0.0, 1.0)]

    def flow(requirement: str, temperature: float) -> tuple[str, str, float]:
        return outcome(generate_flow(requirement, home, model, max_tokens=80, temperature=temperature, seed=4))

    alone = [flow(*task) for task in tasks]
    found: list[list[tuple[str, str, float]]] = [[], [], []]
    start = threading.Barrier(len(found))

    def work(number: int) -> None:
        start.wait()
        for turn in range(len(tasks)):
            found[number].append(flow(*tasks[(turn + 2 * number) % len(tasks)]))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, flows in enumerate(found):
        assert flows == [alone[(turn + 2 * number) % len(tasks)] for turn in range(len(tasks))]


def test_the_natural_length_is_enough(home: Instance, model: Model) -> None:
    """Also where inputs took fewer tokens than their shortest sure way to an end."""
    complete = 0
    for seed in range(4):
        free = generate_flow(REQUIREMENTS[seed % 2], home, model, max_tokens=2 * ENOUGH, temperature=3.0, seed=seed)
        if free.stats.finish_reason != "complete":
            continue
        complete += 1
        for more in (0, 9):
            tokens = free.stats.output_tokens + more
            again = generate_flow(REQUIREMENTS[seed % 2], home, model, max_tokens=tokens, temperature=3.0, seed=seed)
            assert (again.dsl, again.stats.finish_reason) == (free.dsl, "complete"), (seed, more)
    assert complete
