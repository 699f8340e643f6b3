"""Decoding is exact: equal to masking and taking the argmax at every single position."""

import math
from collections import Counter

import pytest
import torch
from decoding_cases import FLOW, GRAMMARS, PROMPTS, accepts, ask
from tiny import tiny_llama

from decoding import (
    BudgetError,
    Constraint,
    DecodeError,
    GrammarError,
    Model,
    PrefixCache,
    compile_grammar,
    decode,
)

COLOURS = Constraint(
    'start: "colour: " COLOUR "\\n"\nCOLOUR: "red" | "blue" | "dark green"\n',
    then=lambda text: Constraint(f'start: "not {text[8:-1]} but " ("tall" | "small")'),
)


@torch.inference_mode()
def naive(model: Model, prompt: list[int], grammar: str, limit: int = 200) -> list[int]:
    """The reference: no cache, no forced runs, one token at a time."""
    matcher = compile_grammar(model.vocabulary, grammar)
    output: list[int] = []
    while not matcher.stopped and len(output) < limit:
        row = model.network(torch.tensor([prompt + output])).logits[0, -1].float()
        allowed = torch.tensor(matcher.allowed())
        token = int(allowed[row[allowed].argmax()])
        if token in model.vocabulary.eos:
            break
        matcher.consume([token])
        output.append(token)
    return output


@pytest.mark.parametrize("name", GRAMMARS)
@pytest.mark.parametrize("request_", PROMPTS)
def test_greedy_equals_the_naive_loop(model: Model, name: str, request_: str) -> None:
    prompt = ask(model, request_)
    constraint = GRAMMARS[name]
    decoded = decode(model, prompt, constraint, max_tokens=30)
    reference = naive(model, prompt, constraint.grammar, 30)
    kept = decoded.stats.output_tokens - decoded.stats.closing_tokens
    assert list(decoded.tokens[:kept]) == reference[:kept]
    if decoded.stats.finish_reason == "complete":
        assert list(decoded.tokens) == reference
    assert accepts(model.vocabulary, constraint, decoded.text)


@pytest.mark.parametrize("name", GRAMMARS)
@pytest.mark.parametrize("seed", range(5))
def test_greedy_equals_the_naive_loop_on_a_random_model(tiny: Model, name: str, seed: int) -> None:
    prompt = [5 + seed, 300 * seed, 17]
    decoded = decode(tiny, prompt, GRAMMARS[name], max_tokens=60)
    kept = decoded.stats.output_tokens - decoded.stats.closing_tokens
    assert list(decoded.tokens[:kept]) == naive(tiny, prompt, GRAMMARS[name].grammar, kept)
    assert accepts(tiny.vocabulary, GRAMMARS[name], decoded.text)


def test_what_the_stats_say(tiny: Model) -> None:
    constraint = Constraint('start: "the answer is: " ("yes" | "no") ", and that is all"')
    decoded = decode(tiny, [5, 6, 7], constraint, max_tokens=50)
    stats = decoded.stats
    assert stats.finish_reason == "complete"
    assert (stats.prompt_tokens, stats.cached_prompt_tokens, stats.closing_tokens) == (3, 0, 0)
    assert stats.output_tokens == len(decoded.tokens) == stats.forced_tokens + len(decoded.choices)
    assert stats.passes == len(decoded.choices)
    for choice in decoded.choices:
        assert decoded.text[choice.position :].startswith(choice.text)
        assert choice.margin >= 0 and 0 <= choice.removed <= 1 and choice.second != choice.text
    assert tiny.vocabulary.decode(decoded.tokens) == decoded.text == "".join(decoded.segments)


def test_forced_output_takes_no_pass(tiny: Model) -> None:
    decoded = decode(tiny, [5], Constraint('start: "nothing to decide here"'), max_tokens=50)
    assert (decoded.text, decoded.stats.passes, decoded.choices) == ("nothing to decide here", 0, ())
    empty = decode(tiny, [5], Constraint('start: ""'), max_tokens=0)
    assert (empty.text, empty.tokens, empty.segments) == ("", (), ("",))


def test_segments_follow_from_what_was_chosen(model: Model) -> None:
    decoded = decode(model, ask(model, "What colour is the sky?"), COLOURS, max_tokens=60)
    first, second = decoded.segments
    colour = first.removeprefix("colour: ").removesuffix("\n")
    assert second.startswith(f"not {colour} but ")
    assert decoded.text == first + second
    assert decoded.stats.passes == len(decoded.choices)


def test_a_segment_may_end_by_choice(tiny: Model) -> None:
    """The end is then chosen as EOS, which is no text; the same logits choose the next segment's start."""
    digits = Constraint("start: /[0-9]{1,6}/", then=lambda text: Constraint(f'start: ";{text};" /[a-z]{{1,6}}/'))
    seen = set()
    for seed in range(12):
        decoded = decode(tiny, [5, 6], digits, max_tokens=60, temperature=3.0, seed=seed)
        first, second = decoded.segments
        assert second.startswith(f";{first};")
        assert decoded.stats.finish_reason == "complete"
        assert not set(decoded.tokens) & set(tiny.vocabulary.eos)
        seen.add(first)
    assert len(seen) > 3


def test_a_wrong_later_segment_is_an_error(tiny: Model) -> None:
    constraint = Constraint('start: "a" | "b"', then=lambda text: Constraint("start: ("))
    with pytest.raises(GrammarError):
        decode(tiny, [5], constraint, max_tokens=10)
    endless = Constraint('start: ""')
    object.__setattr__(endless, "then", lambda text: endless)
    with pytest.raises(GrammarError, match="never"):
        decode(tiny, [5], endless, max_tokens=10)


@pytest.mark.parametrize("name", ["object"])
def test_prefix_cache_changes_nothing(model: Model, name: str) -> None:
    cache = PrefixCache()
    system = {"role": "system", "content": "You write down workflows, one step a line, in few words."}
    for text in (*PROMPTS, PROMPTS[0], PROMPTS[0] + " Then close it."):
        prompt = model.chat([system, {"role": "user", "content": text}])
        plain = decode(model, prompt, GRAMMARS[name], max_tokens=30)
        cached = decode(model, prompt, GRAMMARS[name], max_tokens=30, cache=cache)
        assert cached.text == plain.text
        assert cached.stats.cached_prompt_tokens > (15 if text != PROMPTS[0] or len(cache) > 1 else -1)
    assert plain.stats.cached_prompt_tokens == 0


def test_prefix_cache_is_bounded_and_serves_one_model(tiny: Model) -> None:
    cache = PrefixCache(max_tokens=20, max_entries=3)
    choice = Constraint('start: "x" | "y"')
    for start in range(10):
        decode(tiny, [start + 5, 6, 7, 8], choice, max_tokens=5, cache=cache)
        assert len(cache) <= 3
    assert decode(tiny, [14, 6, 7, 9], choice, max_tokens=5, cache=cache).stats.cached_prompt_tokens == 3
    assert decode(tiny, [14, 6, 7, 8], choice, max_tokens=5, cache=cache).stats.cached_prompt_tokens == 3
    decode(tiny, list(range(5, 40)), choice, max_tokens=5, cache=cache)  # too long to keep
    assert decode(tiny, list(range(5, 40)), choice, max_tokens=5, cache=cache).stats.cached_prompt_tokens == 0
    other = Model.of(tiny_llama(tiny.vocabulary.size), tiny.tokenizer)
    with pytest.raises(DecodeError, match="one model"):
        decode(other, [5], choice, max_tokens=5, cache=cache)


def test_streamed_pieces_are_the_text(model: Model) -> None:
    for budget in (14, 30):
        pieces: list[str] = []
        decoded = decode(model, ask(model, PROMPTS[0]), FLOW, max_tokens=budget, on_text=pieces.append)
        assert "".join(pieces) == decoded.text
        assert len(pieces) > 1


def test_streamed_characters_are_whole(tiny: Model) -> None:
    constraint = Constraint('start: /[日本🙂é]{3,9}/ "."')
    for seed in range(5):
        pieces: list[str] = []
        decoded = decode(tiny, [5], constraint, max_tokens=60, temperature=2.0, seed=seed, on_text=pieces.append)
        assert "".join(pieces) == decoded.text and "\ufffd" not in decoded.text


def test_stop_ends_with_a_complete_sentence(model: Model) -> None:
    asked: list[int] = []

    def after_five() -> bool:
        asked.append(1)
        return len(asked) > 5

    decoded = decode(model, ask(model, PROMPTS[0]), FLOW, max_tokens=200, stop=after_five)
    assert decoded.stats.finish_reason == "stop"
    assert decoded.stats.passes == 5
    assert accepts(model.vocabulary, FLOW, decoded.text)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_call_leaves_the_model_usable(model: Model, kind: type[BaseException]) -> None:
    prompt, cache = ask(model, PROMPTS[0]), PrefixCache()
    before = decode(model, prompt, FLOW, max_tokens=20).text

    def interrupt(piece: str) -> None:
        raise kind

    with pytest.raises(kind):
        decode(model, prompt, FLOW, max_tokens=20, on_text=interrupt, cache=cache)
    assert decode(model, prompt, FLOW, max_tokens=20, cache=cache).text == before
    assert not torch.is_inference_mode_enabled()


def leaves(model: Model, prompt: list[int], grammar: str, temperature: float) -> dict[str, float]:
    """Every sentence of a small grammar with its exact probability under the masked softmax."""
    found: dict[str, float] = {}

    def descend(output: list[int], probability: float) -> None:
        matcher = compile_grammar(model.vocabulary, grammar)
        matcher.consume(output)
        if matcher.stopped:
            text = model.vocabulary.decode(output)
            found[text] = found.get(text, 0.0) + probability
            return
        allowed = matcher.allowed()
        with torch.inference_mode():
            row = model.network(torch.tensor([prompt + output])).logits[0, -1].float()
        shares = torch.softmax(row[torch.tensor(allowed)] / temperature, 0).tolist()
        for token, share in zip(allowed, shares, strict=True):
            descend([*output, token], probability * share)

    descend([], 1.0)
    return found


def test_samples_follow_the_masked_softmax(tiny: Model) -> None:
    constraint = Constraint('start: ("red" | "blue" | "reddish") " " ("cat" | "dog")')
    prompt, draws, temperature = [5, 6, 7], 500, 4.0
    expected = leaves(tiny, prompt, constraint.grammar, temperature)
    assert math.isclose(sum(expected.values()), 1, abs_tol=1e-4) and len(expected) == 6
    cache = PrefixCache()
    counts = Counter(
        decode(tiny, prompt, constraint, max_tokens=20, temperature=temperature, seed=seed, cache=cache).text
        for seed in range(draws)
    )
    assert set(counts) <= set(expected)
    statistic = sum((counts[text] - draws * p) ** 2 / (draws * p) for text, p in expected.items())
    assert statistic < 20.5  # 0.999 quantile of chi-square with 5 degrees of freedom


def test_the_seed_makes_samples_repeatable(tiny: Model) -> None:
    def texts() -> list[str]:
        return [decode(tiny, [5], FLOW, max_tokens=60, temperature=1.5, seed=seed).text for seed in range(4)]

    assert texts() == texts()
    assert len(set(texts())) > 1
    with pytest.raises(ValueError, match="temperature"):
        decode(tiny, [5], FLOW, max_tokens=60, temperature=-1)


def test_damaged_weights_are_an_error(tiny: Model) -> None:
    broken = tiny_llama(tiny.vocabulary.size)
    with torch.no_grad():
        broken.model.norm.weight.fill_(float("nan"))
    with pytest.raises(DecodeError, match="not numbers"):
        decode(Model.of(broken, tiny.tokenizer), [5], FLOW, max_tokens=60)


def test_probability_zero_everywhere_is_an_error(tiny: Model) -> None:
    broken = tiny_llama(tiny.vocabulary.size)
    bias = torch.full((tiny.vocabulary.size,), float("-inf"))
    bias[7] = 0.0
    broken.lm_head.bias = torch.nn.Parameter(bias)
    with pytest.raises(DecodeError, match="probability 0"):
        decode(Model.of(broken, tiny.tokenizer), [5], FLOW, max_tokens=60)


def test_padded_logits_are_never_chosen(tiny: Model) -> None:
    padded = tiny_llama(tiny.vocabulary.size + 77)
    bias = torch.zeros(tiny.vocabulary.size + 77)
    bias[tiny.vocabulary.size :] = 1e4
    padded.lm_head.bias = torch.nn.Parameter(bias)
    model = Model.of(padded, tiny.tokenizer)
    decoded = decode(model, [5], FLOW, max_tokens=60)
    assert accepts(tiny.vocabulary, FLOW, decoded.text)
    assert max(choice.removed for choice in decoded.choices) > 0.99


def test_each_of_several_eos_ids_ends(tiny: Model) -> None:
    for end in (0, 2):
        network = tiny_llama(tiny.vocabulary.size)
        network.generation_config.eos_token_id = [0, 2]
        bias = torch.zeros(tiny.vocabulary.size)
        bias[end] = 1e4
        network.lm_head.bias = torch.nn.Parameter(bias)
        model = Model.of(network, tiny.tokenizer)
        assert set(model.vocabulary.eos) == {0, 2}
        decoded = decode(model, [5], Constraint('start: "ab" /[0-9]{0,30}/'), max_tokens=60)
        assert decoded.text == "ab"
        assert decoded.choices[-1].text == ""


def test_prompts_that_cannot_be_read_are_refused(tiny: Model) -> None:
    with pytest.raises(DecodeError, match="empty"):
        decode(tiny, [], FLOW, max_tokens=60)
    with pytest.raises(DecodeError, match="outside"):
        decode(tiny, [tiny.vocabulary.size], FLOW, max_tokens=60)
    with pytest.raises(DecodeError, match="shorten the prompt"):
        decode(tiny, [5] * 510, FLOW, max_tokens=60)
    with pytest.raises(BudgetError):
        decode(tiny, [5], FLOW, max_tokens=3)


def test_the_models_positions_are_a_budget(tiny: Model) -> None:
    decoded = decode(tiny, [5] * 490, FLOW, max_tokens=10_000)
    assert decoded.stats.output_tokens <= 512 - 490
    assert accepts(tiny.vocabulary, FLOW, decoded.text)


def test_special_tokens_in_a_grammar_are_text(tiny: Model) -> None:
    decoded = decode(tiny, [5], Constraint('start: "a <|im_end|> " ("b" | "c")'), max_tokens=40)
    assert decoded.text[:-1] == "a <|im_end|> "
    assert not set(decoded.tokens) & set(tiny.vocabulary.eos)
