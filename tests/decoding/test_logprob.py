"""The log-probability of an output, and what its masks removed, against one plain pass over the whole text."""

import math

import pytest
from decoding_cases import CHAIN, GRAMMARS, PROMPTS, ask
from recompute import recompute

from decoding import Constraint, Decoded, Model, Row, decode, decode_batch

KINDS = {**GRAMMARS, "chain": CHAIN}
PREFIX = [5, 9, 301, 77]


def agrees(model: Model, prompt: list[int], constraint: Constraint, decoded: Decoded, tolerance: float) -> bool:
    plain = recompute(model, prompt, constraint, decoded)
    assert [choice.logprob for choice in decoded.choices] == pytest.approx(plain.logprobs, abs=tolerance)
    assert [choice.removed for choice in decoded.choices] == pytest.approx(plain.removed, abs=tolerance)
    assert decoded.logprob == pytest.approx(math.fsum(plain.logprobs), abs=tolerance * (1 + len(plain.logprobs)))
    return bool(plain.logprobs)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_one_output(precise: Model, name: str, temperature: float) -> None:
    """At temperature 1, whatever it was sampled at; in float64, so that only the logits' rounding to float32 is left."""
    drawn = [
        decode(precise, PREFIX, KINDS[name], max_tokens=budget, temperature=temperature, seed=seed)
        for seed, budget in enumerate((40, 60, 80, 120))
    ]
    assert all(agrees(precise, PREFIX, KINDS[name], one, 1e-4) for one in drawn)


def test_rows_of_a_batch(precise: Model) -> None:
    rows = [Row((index + 6,), constraint, 60, index) for index, constraint in enumerate([*KINDS.values()] * 2)]
    for temperature in (0.0, 1.5):
        batch = decode_batch(precise, PREFIX, rows, temperature=temperature)
        for row, one in zip(rows, batch, strict=True):
            assert agrees(precise, [*PREFIX, *row.prompt], row.constraint, one, 1e-4)


def test_the_embedded_model(model: Model) -> None:
    prompt = ask(model, PROMPTS[0])
    for name in ("object", "flow"):
        assert agrees(model, prompt, GRAMMARS[name], decode(model, prompt, GRAMMARS[name], max_tokens=40), 1e-3)


def test_forced_text_is_certain(tiny: Model) -> None:
    decoded = decode(tiny, PREFIX, Constraint('start: "nothing to decide"'), max_tokens=20)
    assert decoded.logprob == 0.0 and decoded.choices == ()


def test_logprobs_of_all_sentences_are_a_distribution(precise: Model) -> None:
    """Of a small grammar, drawn until every way to write every sentence has come."""
    constraint = Constraint('start: LETTER LETTER\nLETTER: "Q" | "Z" | "7"')
    pairs = {f"{one}{other}" for one in "QZ7" for other in "QZ7"}
    found: dict[tuple[int, ...], float] = {}
    for seed in range(400):
        decoded = decode(precise, PREFIX, constraint, max_tokens=4, temperature=8.0, seed=seed)
        found[decoded.tokens] = decoded.logprob
    assert {precise.vocabulary.decode(tokens) for tokens in found} == pairs
    assert math.fsum(map(math.exp, found.values())) == pytest.approx(1.0, abs=1e-5)
