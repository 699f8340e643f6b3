"""Models and tokenizers that misbehave: one clear error each, and nothing left behind that the next call could meet."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from decoding_cases import FLOW, GRAMMARS
from tiny import tiny_llama, tiny_mistral
from transformers import ByT5Tokenizer

from decoding import (
    Constraint,
    DecodeError,
    Model,
    ModelError,
    PrefixCache,
    Row,
    Vocabulary,
    decode,
    decode_batch,
    load_model,
)

PREFIX = [5, 9, 301, 77]


@contextmanager
def spoiled(model: Model, value: float, tokens: slice, good_passes: int = 0) -> Iterator[list[int]]:
    """The logits of `tokens` are `value`, after so many passes that are as they should be."""
    passes: list[int] = []

    def spoil(module: object, args: object, kwargs: object, out: Any) -> Any:
        passes.append(1)
        if len(passes) > good_passes:
            out.logits[..., tokens] = value
        return out

    hook = model.network.register_forward_hook(spoil, with_kwargs=True)
    try:
        yield passes
    finally:
        hook.remove()


@pytest.fixture(scope="module")
def sliding(tiny: Model) -> Model:
    """A model whose rows cannot be packed: it is read another way."""
    return Model.of(tiny_mistral(tiny.vocabulary.size, window=8), tiny.tokenizer, "sliding")


@pytest.mark.parametrize("which", ["tiny", "sliding"])
@pytest.mark.parametrize(
    ("value", "tokens"),
    [(math.nan, slice(None)), (math.nan, slice(7, 8)), (-math.inf, slice(None)), (math.inf, slice(7, 8))],
    ids=["all NaN", "one NaN", "all minus infinity", "one infinity"],
)
@pytest.mark.parametrize("good_passes", [0, 2])
def test_logits_that_are_no_numbers(
    which: str, value: float, tokens: slice, good_passes: int, request: pytest.FixtureRequest
) -> None:
    """From the first pass on, or in the middle of an output; the same call then gives what it always gives."""
    model: Model = request.getfixturevalue(which)
    rows = [Row((index + 6,), constraint, 50) for index, constraint in enumerate(GRAMMARS.values())]
    usual = decode(model, PREFIX, FLOW, max_tokens=50).tokens
    usual_rows = [one.tokens for one in decode_batch(model, PREFIX, rows)]
    cache = PrefixCache()
    with spoiled(model, value, tokens, good_passes) as passes:
        with pytest.raises(DecodeError, match="not numbers") as caught:
            decode(model, PREFIX, FLOW, max_tokens=50, cache=cache)
        assert len(passes) == good_passes + 1 and "\n" not in str(caught.value)
        passes.clear()
        with pytest.raises(DecodeError, match="not numbers"):
            decode_batch(model, PREFIX, rows, cache=cache)
    assert decode(model, PREFIX, FLOW, max_tokens=50, cache=cache).tokens == usual
    assert [one.tokens for one in decode_batch(model, PREFIX, rows, cache=cache)] == usual_rows


def test_tokens_of_probability_zero(tiny: Model) -> None:
    choice = Constraint('start: "Q" | "Z"')
    allowed = [tiny.vocabulary.encode(letter)[0] for letter in "QZ"]
    first, last = min(allowed), max(allowed)
    both = slice(first, last + 1)
    with spoiled(tiny, -math.inf, both), pytest.raises(DecodeError, match="probability 0"):
        decode(tiny, PREFIX, choice, max_tokens=3)
    with spoiled(tiny, -math.inf, slice(first, first + 1)):  # of one: the other one is certain
        decoded = decode(tiny, PREFIX, choice, max_tokens=3)
    assert tuple(decoded.tokens) == (last,)
    assert decoded.logprob == 0.0 and decoded.choices[0].margin == math.inf and decoded.choices[0].second == ""


def test_several_ends_and_padding_in_a_batch(tiny: Model) -> None:
    """The padding is what such a model would like best, and each row ends by another of its EOS ids."""
    size = tiny.vocabulary.size
    network = tiny_llama(size + 77)
    network.generation_config.eos_token_id = [0, 2]
    bias = torch.zeros(size + 77)
    bias[size:] = 1e4
    bias[[0, 2]] = 3.0
    network.lm_head.bias = torch.nn.Parameter(bias)
    model = Model.of(network.double(), tiny.tokenizer)
    assert (model.vocabulary.size, set(model.vocabulary.eos)) == (size + 77, {0, 2})
    digits = Constraint('start: "ab" /[0-9]{0,30}/ | "cd"')
    rows = [Row((index + 5,), digits if index % 2 else FLOW, 60, index) for index in range(16)]
    for temperature in (0.0, 1.0):
        batch = decode_batch(model, PREFIX, rows, temperature=temperature)
        for row, one in zip(rows, batch, strict=True):
            alone = decode(
                model,
                [*PREFIX, *row.prompt],
                row.constraint,
                max_tokens=60,
                temperature=temperature,
                seed=row.seed,
                width=0,
            )
            assert (one.text, one.tokens) == (alone.text, alone.tokens)
            assert all(token < size and token not in (0, 2) for token in one.tokens)


def test_slow_tokenizers_are_refused(tiny: Model, tmp_path: Path) -> None:
    """A real one, from memory and from a folder."""
    slow = ByT5Tokenizer()
    with pytest.raises(ModelError, match=r"ByT5Tokenizer is not a fast tokenizer.*tokenizer\.json"):
        Vocabulary.from_transformers(slow)
    with pytest.raises(ModelError, match="fast tokenizer"):
        Model.of(tiny_llama(len(slow)), slow)
    tiny_llama(len(slow)).save_pretrained(tmp_path)
    slow.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="fast tokenizer") as caught:
        load_model(tmp_path, device="cpu")
    assert "\n" not in str(caught.value)
