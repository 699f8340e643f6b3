"""A batch gives what its rows give alone, whatever their lengths, and reads their prefix once."""

import threading
from dataclasses import replace

import pytest
import torch
from decoding_cases import CHAIN, FLOW, GRAMMARS, PROMPTS, accepts, ask
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_mistral
from transformers import AutoModelForCausalLM, BloomConfig

from decoding import (
    BudgetError,
    Constraint,
    Decoded,
    DecodeError,
    GrammarError,
    Model,
    PrefixCache,
    Row,
    decode,
    decode_batch,
)
from decoding.reader import packs

PREFIX = [5, 9, 301, 77, 12, 400]
KINDS = [*GRAMMARS.values(), CHAIN]


def loop(model: Model, prefix: list[int], rows: list[Row], temperature: float = 0.0) -> list[Decoded]:
    return [
        decode(
            model,
            [*prefix, *row.prompt],
            row.constraint,
            max_tokens=row.max_tokens,
            seed=row.seed,
            temperature=temperature,
            width=0,
        )
        for row in rows
    ]


def told(decoded: list[Decoded]) -> list[tuple[str, tuple[int, ...], str]]:
    return [(one.text, one.tokens, one.stats.finish_reason) for one in decoded]


some_rows = st.lists(
    st.builds(
        Row,
        prompt=st.lists(st.integers(5, 4000), max_size=6).map(tuple),
        constraint=st.sampled_from(KINDS),
        max_tokens=st.integers(32, 50),
        seed=st.integers(0, 3),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=20)
@given(rows=some_rows, temperature=st.sampled_from([0.0, 1.5]), width=st.sampled_from([0, 3, 32]))
def test_a_batch_equals_a_loop(precise: Model, rows: list[Row], temperature: float, width: int) -> None:
    batch = decode_batch(precise, PREFIX, rows, temperature=temperature, width=width)
    alone = loop(precise, PREFIX, rows, temperature)
    assert told(batch) == told(alone)
    for one, other in zip(batch, alone, strict=True):
        assert [choice.text for choice in one.choices] == [choice.text for choice in other.choices]
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)


def test_a_batch_on_the_embedded_model(model: Model) -> None:
    first, second = (ask(model, text) for text in PROMPTS)
    shared = next(index for index, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1])
    rows = [
        Row(tuple(first[shared:]), GRAMMARS["flow"], 30),
        Row(tuple(second[shared:]), GRAMMARS["object"], 30),
        Row(tuple(second[shared:]), GRAMMARS["subset"], 30),
    ]
    cache = PrefixCache()
    batch = decode_batch(model, first[:shared], rows, cache=cache)
    assert told(batch) == told(loop(model, first[:shared], rows))
    again = decode_batch(model, first[:shared], rows, cache=cache)
    assert told(again) == told(batch)
    assert [one.stats.cached_prompt_tokens for one in again] == [shared] * 3
    assert max(one.stats.passes for one in again) == max(one.stats.passes for one in batch) - 1


def test_the_prefix_is_read_once_and_only_what_is_needed(tiny: Model) -> None:
    """Counted at the network itself."""
    read: list[tuple[int, int]] = []

    def note(module: object, args: object, kwargs: dict[str, torch.Tensor], out: object) -> None:
        read.append((kwargs["input_ids"].numel(), out.logits.shape[1]))  # type: ignore[attr-defined]

    rows = [Row((6, index), Constraint('start: ("yes" | "no") " it is"'), 20) for index in range(10, 14)]
    decode_batch(tiny, PREFIX, rows)  # the first call tries whether rows can be packed
    hook = tiny.network.register_forward_hook(note, with_kwargs=True)
    try:
        batch = decode_batch(tiny, PREFIX, rows, width=0)
    finally:
        hook.remove()
    assert read[:2] == [(len(PREFIX), 1), (8, 4)]
    assert sum(tokens for tokens, _ in read[2:]) <= 4 * max(len(one.tokens) for one in batch)
    assert len(read) == max(one.stats.passes for one in batch)
    assert all(one.stats.row_passes <= one.stats.passes for one in batch)


def test_sixty_four_rows(tiny: Model) -> None:
    rows = [Row((index + 5,) * (index % 7), KINDS[index % len(KINDS)], 40) for index in range(64)]
    batch = decode_batch(tiny, PREFIX, rows)
    assert told(batch) == told(loop(tiny, PREFIX, rows))


def test_rows_that_end_at_once(tiny: Model) -> None:
    forced = Constraint('start: "nothing to decide"')
    rows = [Row((), forced, 20), Row((7,), FLOW, 40), Row((8,), Constraint('start: ""'), 0)]
    batch = decode_batch(tiny, PREFIX, rows)
    assert [one.text for one in batch] == ["nothing to decide", loop(tiny, PREFIX, rows)[1].text, ""]
    assert batch[0].stats.passes == batch[0].stats.row_passes == 0
    assert decode_batch(tiny, PREFIX, rows[:1])[0].stats.passes == 0
    assert decode_batch(tiny, PREFIX, []) == []


def test_rows_alone_need_no_prefix(tiny: Model) -> None:
    rows = [Row((5, 6), FLOW, 40), Row((7,), FLOW, 40)]
    assert told(decode_batch(tiny, [], rows)) == told(loop(tiny, [], rows))
    one = [Row((), FLOW, 40), Row((7, 8), FLOW, 40)]
    assert told(decode_batch(tiny, [5], one)) == told(loop(tiny, [5], one))
    with pytest.raises(DecodeError, match="empty"):
        decode_batch(tiny, [], [Row((), FLOW, 40), rows[0]])


def test_long_prompts_of_rows_are_read_in_several_passes(tiny: Model) -> None:
    rows = [Row(tuple(range(5 + index, 105 + index)), GRAMMARS["subset"], 20) for index in range(4)]
    batch = decode_batch(tiny, PREFIX, rows)
    assert told(batch) == told(loop(tiny, PREFIX, rows))


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_drafts_wait_while_other_prompts_are_read(precise: Model, share: float) -> None:
    """Guesses that were read with a row's prompt are right still when those of others have been read after it."""
    rows = [Row(tuple(range(5 + index, 95 + index)), FLOW, 40 + index) for index in range(7)]
    alone = loop(precise, PREFIX, rows)

    def hinted(row: Row, text: str) -> Row:
        end = int(len(text) * share)
        return replace(row, constraint=replace(row.constraint, drafts=lambda written: [text[len(written) : end]]))

    guessed = [hinted(row, one.text) for row, one in zip(rows, alone, strict=True)]
    batch = decode_batch(precise, PREFIX, guessed, width=64)
    assert told(batch) == told(alone)
    assert sum(one.stats.accepted_tokens for one in batch) > 0
    for one, other in zip(batch, alone, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)


def test_events_come_in_time(tiny: Model) -> None:
    pieces: dict[int, list[str]] = {}
    done: dict[int, Decoded] = {}

    def on_text(index: int, piece: str) -> None:
        assert index not in done
        pieces.setdefault(index, []).append(piece)

    rows = [Row((index + 6,), KINDS[index % len(KINDS)], 40) for index in range(5)]
    batch = decode_batch(tiny, PREFIX, rows, on_text=on_text, on_done=done.__setitem__)
    assert ["".join(pieces[index]) for index in range(5)] == [one.text for one in batch]
    assert [done[index] for index in range(5)] == batch


def test_stop_ends_all_rows(tiny: Model) -> None:
    asked: list[int] = []
    rows = [Row((index + 6,), FLOW, 60) for index in range(4)]
    batch = decode_batch(tiny, PREFIX, rows, stop=lambda: len(asked) > 3 or asked.append(1) is not None, width=0)
    assert {one.stats.finish_reason for one in batch} == {"stop"}
    assert all(accepts(tiny.vocabulary, FLOW, one.text) for one in batch)


def test_errors_name_the_row(tiny: Model) -> None:
    with pytest.raises(BudgetError, match="row 1") as caught:
        decode_batch(tiny, PREFIX, [Row((5,), FLOW, 60), Row((5,), FLOW, 3)])
    assert caught.value.minimum > 3
    with pytest.raises(GrammarError, match="row 1"):
        decode_batch(tiny, PREFIX, [Row((5,), FLOW, 60), Row((5,), Constraint("start: ("), 30)])
    with pytest.raises(DecodeError, match="outside"):
        decode_batch(tiny, PREFIX, [Row((tiny.vocabulary.size,), FLOW, 60)])


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_batch_leaves_the_model_usable(tiny: Model, kind: type[BaseException]) -> None:
    rows = [Row((index + 6,), FLOW, 40) for index in range(3)]
    cache = PrefixCache()

    def interrupt(index: int, piece: str) -> None:
        raise kind

    with pytest.raises(kind):
        decode_batch(tiny, PREFIX, rows, on_text=interrupt, cache=cache)
    assert told(decode_batch(tiny, PREFIX, rows, cache=cache)) == told(loop(tiny, PREFIX, rows))
    assert not torch.is_inference_mode_enabled()


def test_threads_share_a_model_and_a_cache(tiny: Model) -> None:
    cache = PrefixCache(max_tokens=60)  # small, so that entries come and go meanwhile
    sets = [[Row((5 + index, 6 + number), KINDS[number], 30) for number in range(4)] for index in range(4)]
    alone = [told(loop(tiny, PREFIX, rows)) for rows in sets]
    found: dict[int, list[list[tuple[str, tuple[int, ...], str]]]] = {}

    def work(index: int) -> None:
        found[index] = [told(decode_batch(tiny, PREFIX, sets[index], cache=cache)) for _ in range(3)]

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {index: [alone[index]] * 3 for index in range(4)}


def test_what_was_written_is_a_prefix_of_the_next_call(tiny: Model) -> None:
    cache = PrefixCache()
    first = decode(tiny, PREFIX, FLOW, max_tokens=40, cache=cache)
    prefix = [*PREFIX, *first.tokens]
    rows = [Row((9, index), GRAMMARS["object"], 30) for index in range(7, 10)]
    batch = decode_batch(tiny, prefix, rows, cache=cache)
    assert told(batch) == told(loop(tiny, prefix, rows))
    unread = batch[0].stats.prompt_tokens - 2 - batch[0].stats.cached_prompt_tokens
    assert 0 <= unread <= first.stats.closing_tokens + 8  # what followed the last choice was not read


def test_models_that_cannot_be_packed_are_read_row_by_row(tiny: Model) -> None:
    """ALiBi knows no positions, a sliding window forgets: both must be found out, and both decode the same."""
    size = tiny.vocabulary.size
    sliding = tiny_mistral(size, window=8)
    alibi = BloomConfig(vocab_size=size, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.4)
    rows = [Row((6, index), KINDS[index % 4], 30) for index in range(7, 11)]
    assert packs(tiny)
    for network in (sliding, AutoModelForCausalLM.from_config(alibi).float()):
        network.generation_config.eos_token_id = 2
        model = Model.of(network, tiny.tokenizer)
        prompt = [*PREFIX, 7, 8, 9, 10, 11, 12]
        one = decode(model, prompt, FLOW, max_tokens=40, cache=PrefixCache())
        assert one.tokens == reference(model, prompt, one)
        assert told(decode_batch(model, prompt, rows, cache=PrefixCache())) == told(loop(model, prompt, rows))


@torch.inference_mode()
def reference(model: Model, prompt: list[int], decoded: Decoded) -> tuple[int, ...]:
    """The output, if each choice in it is the argmax of a pass over everything before it; else where it is not."""
    from decoding import compile_grammar

    matcher = compile_grammar(model.vocabulary, FLOW.grammar)
    written = len(decoded.tokens) - decoded.stats.closing_tokens
    for index, token in enumerate(decoded.tokens[:written]):
        allowed = torch.tensor(matcher.allowed())
        row = model.network(torch.tensor([[*prompt, *decoded.tokens[:index]]]), use_cache=False).logits[0, -1]
        if int(allowed[row[allowed].argmax()]) != token:
            return decoded.tokens[:index]
        matcher.consume([token])
    return decoded.tokens
