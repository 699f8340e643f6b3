"""Drafts save passes and change nothing, whatever they say."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
import torch
from decoding_cases import FLOW, GRAMMARS, PROMPTS, accepts, ask
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_decoder import leaves

from decoding import (
    Constraint,
    Decoded,
    Model,
    Row,
    Vocabulary,
    decode,
    decode_batch,
    minimum_tokens,
    rehearse,
    with_drafts,
)
from decoding.draft import AGREE, REACH, draft_tree, look_up, offered, proposer
from decoding.lane import Draft
from decoding.output import Output

Drafts = tuple[str, ...] | Callable[[str], Iterable[str]]
PROMPT = [5, 9, 301]


def outcome(decoded: Decoded) -> tuple[str, tuple[int, ...], str, list[str]]:
    return decoded.text, decoded.tokens, decoded.stats.finish_reason, [choice.text for choice in decoded.choices]


def draws(model: Model, constraint: Constraint, **options: float | int) -> Decoded:
    settings_ = {"max_tokens": 60, "temperature": 1.5, "seed": 4, **options}
    return decode(model, PROMPT, constraint, **settings_)  # type: ignore[arg-type]


nonsense = st.lists(
    st.text(max_size=20) | st.sampled_from(["", '"', 'FLOW "', "look_up", "\n", "END\n", "<|im_end|>", "🙂", "\x00"]),
    max_size=4,
).map(tuple)


@settings(max_examples=40)
@given(
    name=st.sampled_from([*GRAMMARS]),
    drafts=nonsense,
    called=st.booleans(),
    width=st.integers(1, 40),
    temperature=st.sampled_from([0.0, 0.7, 3.0]),
    seed=st.integers(0, 5),
)
def test_no_draft_changes_the_output(
    precise: Model, name: str, drafts: tuple[str, ...], called: bool, width: int, temperature: float, seed: int
) -> None:
    """Token for token: the same decisions are made from the same logits with the same random numbers."""
    plain = GRAMMARS[name]
    hinted = replace(plain, drafts=(lambda text: iter(drafts)) if called else drafts)
    expected = draws(precise, plain, temperature=temperature, seed=seed, width=0)
    found = draws(precise, hinted, temperature=temperature, seed=seed, width=width)
    assert outcome(found) == outcome(expected)
    assert expected.stats.drafted_tokens == 0 and found.stats.accepted_tokens <= found.stats.drafted_tokens
    assert found.stats.passes <= expected.stats.passes


@pytest.mark.parametrize("name", GRAMMARS)
def test_the_text_itself_as_draft_takes_few_passes(tiny: Model, name: str) -> None:
    plain = draws(tiny, GRAMMARS[name], temperature=0.0, width=0)
    hinted = replace(GRAMMARS[name], drafts=lambda text: [plain.text[len(text) :]])
    found = draws(tiny, hinted, temperature=0.0, width=16)
    assert outcome(found) == outcome(plain)
    # the text is drafted as the tokenizer would write it, which need not be what a random model chose
    assert found.stats.passes < plain.stats.passes * (0.8 if name == "subset" else 0.5)
    assert found.stats.accepted_tokens >= 1


def test_copies_of_the_prompt_are_drafted(model: Model) -> None:
    """The embedded model repeats what it was told to repeat; look-up alone finds it."""
    sentence = "look up the incidents of the caller and tell the manager of the group"
    prompt = ask(model, f'Repeat this in quotes: "{sentence}"')
    constraint = Constraint('start: "The text is: " /"[a-z ]{1,90}"/')
    plain = decode(model, prompt, constraint, max_tokens=40, width=0)
    found = decode(model, prompt, constraint, max_tokens=40)
    assert outcome(found) == outcome(plain)
    assert sentence[:40] in found.text
    assert found.stats.passes <= plain.stats.passes / 2


@pytest.mark.parametrize("request_", PROMPTS)
def test_greedy_on_the_embedded_model(model: Model, request_: str) -> None:
    prompt = ask(model, request_)
    hinted = replace(FLOW, drafts=("look_up", "update", 'create_task "create a task"\n', "END\n"))
    for constraint in (hinted, GRAMMARS["object"]):
        plain = decode(model, prompt, constraint, max_tokens=40, width=0)
        assert outcome(decode(model, prompt, constraint, max_tokens=40)) == outcome(plain)


def test_samples_follow_the_masked_softmax_with_drafts(tiny: Model) -> None:
    """Against the exact distribution, by independent random numbers, where the draft is often right."""
    grammar = 'start: ("red" | "blue" | "reddish") " " ("cat" | "dog")'
    prompt, count, temperature = [5, 6, 7], 500, 4.0
    expected = leaves(tiny, prompt, grammar, temperature)
    constraint = Constraint(grammar, drafts=lambda text: ["d", "c", " "] if text else ["r", "b", "re"])
    rows = [Row((6, 7), constraint, 20, seed=1000 + index) for index in range(count)]
    batches = [
        decode_batch(tiny, [5], rows[at : at + 50], temperature=temperature, width=400) for at in range(0, 500, 50)
    ]
    decoded = [one for batch in batches for one in batch]
    counts = Counter(one.text for one in decoded)
    assert sum(one.stats.accepted_tokens for one in decoded) > count / 2
    assert set(counts) <= set(expected)
    statistic = sum((counts[text] - count * p) ** 2 / (count * p) for text, p in expected.items())
    assert statistic < 20.5  # 0.999 quantile of chi-square with 5 degrees of freedom


def test_budgets_hold_with_drafts(tiny: Model) -> None:
    text = draws(tiny, FLOW, temperature=0.0, width=0).text
    hinted = replace(FLOW, drafts=lambda written: [text[len(written) :], "END\n"])
    least = minimum_tokens(tiny.vocabulary, FLOW)
    for budget in range(least, least + 12):
        found = draws(tiny, hinted, temperature=0.0, max_tokens=budget)
        assert outcome(found) == outcome(draws(tiny, FLOW, temperature=0.0, max_tokens=budget, width=0))
        assert accepts(tiny.vocabulary, FLOW, found.text) and len(found.tokens) <= budget


def test_a_pass_is_no_wider_than_asked(tiny: Model) -> None:
    """Counted at the network."""
    widths: list[int] = []
    hinted = replace(FLOW, drafts=lambda text: ['update "abc def ghi', 'look_up "a', "create_task"])
    draws(tiny, hinted)  # tries first whether rows can be packed
    hook = tiny.network.register_forward_hook(lambda *args: widths.append(args[2].logits.shape[1]), with_kwargs=False)
    try:
        for width in (0, 1, 5):
            widths.clear()
            found = draws(tiny, hinted, width=width, temperature=0.0)
            assert max(widths) <= width + 1
            assert found.stats.drafted_tokens <= width * found.stats.passes
    finally:
        hook.remove()


def test_a_failing_draft_source_leaves_the_model_usable(tiny: Model) -> None:
    def drafts(text: str) -> Iterable[str]:
        raise RuntimeError("no idea")

    with pytest.raises(RuntimeError, match="no idea"):
        draws(tiny, replace(FLOW, drafts=drafts))
    assert not torch.is_inference_mode_enabled()
    assert outcome(draws(tiny, FLOW)) == outcome(draws(tiny, FLOW, width=0))


def paths(drafts: Iterable[Draft], before: tuple[int, ...] = ()) -> Iterable[tuple[int, ...]]:
    for draft in drafts:
        yield (*before, draft.token)
        yield from paths(draft.children.values(), (*before, draft.token))


@settings(max_examples=60)
@given(guesses=nonsense, width=st.integers(0, 30), name=st.sampled_from([*GRAMMARS]))
@example(guesses=('FLOW "look', 'FLOW "let', 'FLOW "look up"\nlook_up "x"\nEND\n'), width=30, name="flow")
def test_trees_hold_what_the_grammar_accepts(tiny: Model, guesses: tuple[str, ...], width: int, name: str) -> None:
    output = Output(tiny.vocabulary, GRAMMARS[name])
    output.settle(100)
    begun = list(output.tokens)
    tree = draft_tree(output, lambda output: guesses if output.tokens == begun else (), width, 100)
    assert output.tokens == begun
    assert sum(draft.size() for draft in tree) <= width
    for path in paths(tree):
        assert output._matcher.accepts(path) == len(path)


def test_what_is_forced_after_a_guess_belongs_to_it(tiny: Model) -> None:
    constraint = Constraint('start: ("create the task" | "cancel it") ", please " ("now" | "later")')
    output = Output(tiny.vocabulary, constraint)
    output.settle(100)
    tree = draft_tree(output, lambda output: ["create"] if len(output.tokens) <= 1 else [], 30, 100)
    longest = max(paths(tree), key=len)
    written = tiny.vocabulary.decode([*output.tokens, *longest])
    assert written == "create the task, please"


@given(source=st.text("ab ", max_size=40), text=st.text("ab ", max_size=30))
def test_look_up_takes_the_place_that_agrees_most(source: str, text: str) -> None:
    def agreement(end: int) -> int:
        return next((size for size in range(min(end, len(text)), 0, -1) if source[:end].endswith(text[-size:])), 0)

    found = look_up(source, text)
    best = max(map(agreement, range(len(source) + 1)), default=0)
    if best < AGREE:
        assert found == ""
    else:
        last = max(end for end in range(len(source) + 1) if agreement(end) == best)
        assert found == source[last : last + REACH]


def test_offers_that_were_begun_come_first() -> None:
    assert list(offered(("alpha", "beta", "gamma"), "the ga")) == ["mma", "alpha", "beta"]
    assert list(offered(("beta", "again"), "is the a")) == ["gain", "beta"]
    assert list(offered(("alpha",), "")) == ["alpha"]
    assert list(offered(lambda text: [text * 2], "ab")) == ["abab"]


def test_the_output_itself_is_looked_up(tiny: Model) -> None:
    output = Output(tiny.vocabulary, Constraint("start: /[a-z ]{1,80}/"))
    for token in tiny.vocabulary.encode("the printer is broken and the printer"):
        output.append(token)
    assert next(iter(proposer("no help")(output))) == " is broken and the printe"


def test_a_rehearsal_meets_what_comes_and_changes_nothing(vocabulary: Vocabulary) -> None:
    second = 'start: /[a-z]{2,9}/ "."'
    first = Constraint('start: "see " /[a-z]{2,9}/ ";"', then=lambda text: Constraint(second))
    before = [Output(vocabulary, first).settle(9), Output(vocabulary, Constraint(second)).settle(9)]
    vocabulary.built.clear()
    rehearse(vocabulary, with_drafts(first, lambda text: ["see ab;cd."[len(text) :]]))
    assert list(vocabulary.built) == [first.grammar, second]
    after = [Output(vocabulary, first).settle(9), Output(vocabulary, Constraint(second)).settle(9)]
    assert all((old == new).all() for old, new in zip(before, after, strict=True))
    vocabulary.built.clear()
    rehearse(vocabulary, with_drafts(first, lambda text: ["AB"]))  # nonsense ends it
    assert list(vocabulary.built) == [first.grammar]
