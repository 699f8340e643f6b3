"""With any budget at or above the minimum the output is complete; with enough it is the unlimited one."""

import pytest
from decoding_cases import FLOW, GRAMMARS, PROMPTS, accepts, ask

from decoding import (
    BudgetError,
    Constraint,
    GrammarError,
    Model,
    Vocabulary,
    closing_path,
    compile_grammar,
    decode,
    minimum_tokens,
)

NESTED = Constraint(
    r"""start: "begin\n" block "STOP\n"
block: (line | "TRY\n" block "CATCH\n" block "END\n")+
line: "do " /[a-z]{2,12}/ "\n"
""",
    closers=("STOP\n", "END\n", "CATCH\n", "do it\n", "\n"),
)
CHAIN = Constraint(
    'start: /[a-z]{1,12}/ ";"',
    then=lambda text: Constraint(
        f'start: "{text[:3]}" /[0-9]{{1,12}}/ "."', then=lambda tail: Constraint(f'start: " end{tail[-2]}"')
    ),
)


@pytest.mark.parametrize("name", [*GRAMMARS, "nested"])
def test_every_budget_gives_a_complete_output(tiny: Model, name: str) -> None:
    constraint = {**GRAMMARS, "nested": NESTED}[name]
    minimum = minimum_tokens(tiny.vocabulary, constraint)
    for seed, budget in enumerate([*range(minimum, minimum + 9), minimum + 20, minimum + 45]):
        decoded = decode(tiny, [5, 9], constraint, max_tokens=budget, temperature=2.0, seed=seed % 5)
        assert len(decoded.tokens) <= budget
        assert accepts(tiny.vocabulary, constraint, decoded.text), decoded.text
        assert decoded.stats.finish_reason in ("complete", "budget")


@pytest.mark.parametrize(
    "constraint", [CHAIN, *(GRAMMARS[name] for name in ("object", "subset"))], ids=["chain", "object", "subset"]
)
def test_the_natural_length_is_enough(tiny: Model, constraint: Constraint) -> None:
    """Even where the closing path from some state on the way is longer than what the model needed."""
    complete, minimum = 0, minimum_tokens(tiny.vocabulary, constraint)
    for seed in range(6):
        free = decode(tiny, [5, 9], constraint, max_tokens=80, temperature=1.5, seed=seed)
        if free.stats.finish_reason != "complete" or len(free.tokens) < minimum:  # other tokens, same text
            continue
        complete += 1
        for budget in (len(free.tokens), len(free.tokens) + 1, len(free.tokens) + 9):
            again = decode(tiny, [5, 9], constraint, max_tokens=budget, temperature=1.5, seed=seed)
            assert (again.text, again.stats.finish_reason) == (free.text, "complete")
        if len(free.tokens) > minimum:
            less = decode(tiny, [5, 9], constraint, max_tokens=len(free.tokens) - 1, temperature=1.5, seed=seed)
            assert less.stats.finish_reason == "budget" and less.stats.closing_tokens >= 0
    assert complete


def test_longer_closing_path_than_natural_end_is_not_followed_too_early(tiny: Model) -> None:
    """Without closers the path may be long-winded; the unlimited text must come out all the same."""
    constraint = Constraint('start: "go " ("a" "bcdefghijklmnopqrstuvwxyz" | "longer way") "."')
    free = decode(tiny, [5], constraint, max_tokens=100)
    minimum = minimum_tokens(tiny.vocabulary, constraint)
    assert decode(tiny, [5], constraint, max_tokens=max(minimum, len(free.tokens))).text == free.text


def test_budgets_through_segments(tiny: Model) -> None:
    minimum = minimum_tokens(tiny.vocabulary, CHAIN)
    for budget in range(minimum, minimum + 25):
        decoded = decode(tiny, [5], CHAIN, max_tokens=budget, temperature=3.0, seed=budget)
        first, second, third = decoded.segments
        assert second.startswith(first[:3]) and third == f" end{second[-2]}"
        assert len(decoded.tokens) <= budget


def test_budgets_on_the_embedded_model(model: Model) -> None:
    prompt = ask(model, PROMPTS[0])
    minimum = minimum_tokens(model.vocabulary, FLOW)
    for budget in (minimum, minimum + 8):
        decoded = decode(model, prompt, FLOW, max_tokens=budget)
        assert accepts(model.vocabulary, FLOW, decoded.text)
        assert len(decoded.tokens) <= budget


def test_below_the_minimum_is_an_error_before_the_first_pass(tiny: Model) -> None:
    minimum = minimum_tokens(tiny.vocabulary, FLOW)
    with pytest.raises(BudgetError, match=f"at least {minimum} tokens") as caught:
        decode(tiny, [5], FLOW, max_tokens=minimum - 1)
    assert caught.value.minimum == minimum
    assert decode(tiny, [5], FLOW, max_tokens=minimum).stats.output_tokens == minimum


def test_closers_end_soonest(vocabulary: Vocabulary) -> None:
    matcher = compile_grammar(vocabulary, FLOW.grammar)
    written = 'FLOW "x"\nIF "a"\nlook_up "free te'
    matcher.consume(vocabulary.encode(written))
    path = closing_path(matcher, FLOW, written.encode())
    assert vocabulary.decode(path) == '"\nFI\nEND\n'
    assert matcher.accepts(path) == len(path)


def test_what_is_left_of_a_closer_is_used(vocabulary: Vocabulary) -> None:
    constraint = Constraint("start: /[A-Z]{1,30};/", closers=("ABCDE;",))
    matcher = compile_grammar(vocabulary, constraint.grammar)
    for letter in "XABC":
        matcher.consume(vocabulary.encode(letter))
    assert vocabulary.decode(closing_path(matcher, constraint)) == "ABCDE;"
    assert vocabulary.decode(closing_path(matcher, Constraint(constraint.grammar, ("XABCDE;",)), b"XABC")) == "DE;"


def test_loops_without_closers_are_left(vocabulary: Vocabulary) -> None:
    constraint = Constraint('start: (STEP "\\n")+ "FINISHED"\nSTEP: "a" | "b" | "c"')
    path = closing_path(compile_grammar(vocabulary, constraint.grammar), constraint)
    assert vocabulary.decode(path).endswith("FINISHED")


def test_a_grammar_without_an_end_is_an_error(tiny: Model) -> None:
    with pytest.raises(GrammarError, match="no end"):
        decode(tiny, [5], Constraint('start: ("a" | "b") start'), max_tokens=1000)
