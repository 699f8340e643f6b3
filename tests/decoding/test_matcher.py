"""Laws of the matcher, on two real vocabularies: what mask, validate, forced and consume must agree on."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest
from decoding_cases import GRAMMARS

from decoding import GrammarError, Vocabulary, compile_grammar
from decoding.matcher import KEPT_GRAMMARS, Matcher


@pytest.fixture(scope="session", params=["smollm2", "nemo"])
def words(request: pytest.FixtureRequest) -> Vocabulary:
    name = {"smollm2": "vocabulary", "nemo": "nemo"}[request.param]
    value = request.getfixturevalue(name)
    assert isinstance(value, Vocabulary)
    return value


def walk(matcher: Matcher, seed: int, steps: int):
    """Random states of an output: yields, then consumes a random allowed token."""
    rng = random.Random(seed)
    for _ in range(steps):
        if matcher.stopped:
            return
        allowed = [token for token in matcher.allowed() if token not in matcher.vocabulary.eos]
        yield allowed
        if not allowed:
            return
        matcher.consume([rng.choice(allowed)])


@pytest.mark.parametrize("name", GRAMMARS)
@pytest.mark.parametrize("seed", range(3))
def test_mask_is_within_validate(words: Vocabulary, name: str, seed: int) -> None:
    matcher = compile_grammar(words, GRAMMARS[name].grammar)
    rng = random.Random(seed)
    for allowed in walk(matcher, seed, 25):
        for token in rng.sample(allowed, min(40, len(allowed))):
            assert matcher.accepts([token]) == 1


@pytest.mark.parametrize("name", GRAMMARS)
@pytest.mark.parametrize("seed", range(3))
def test_mask_equals_validate_without_forcing(words: Vocabulary, name: str, seed: int) -> None:
    matcher = compile_grammar(words, '%llguidance {"no_forcing": true}\n' + GRAMMARS[name].grammar)
    rng = random.Random(seed)
    for allowed in walk(matcher, seed, 25):
        masked = set(allowed)
        for token in rng.sample(range(words.size), 200) + rng.sample(allowed, min(20, len(allowed))):
            if token not in words.eos:
                assert (matcher.accepts([token]) == 1) == (token in masked)


@pytest.mark.parametrize("name", GRAMMARS)
@pytest.mark.parametrize("seed", range(4))
def test_forced_point_allows_exactly_the_first_forced_token(words: Vocabulary, name: str, seed: int) -> None:
    """And so on through the run: the mask inside a forced run allows the next of the run only."""
    matcher = compile_grammar(words, GRAMMARS[name].grammar)
    for _ in walk(matcher, seed, 30):
        ahead = matcher.copy()
        for token in matcher.forced():
            assert ahead.allowed() == [token]
            ahead.consume([token])


@pytest.mark.parametrize("name", GRAMMARS)
def test_rollback_undoes_consume(words: Vocabulary, name: str) -> None:
    matcher = compile_grammar(words, GRAMMARS[name].grammar)
    history = []
    for allowed in walk(matcher, 5, 15):
        history.append((allowed, matcher.forced(), matcher.accepting))
    count = len(history) - (1 if matcher.stopped is False and not history[-1][0] else 0)
    states = history[:count]
    for back in range(1, count + 1):
        matcher.rollback(1)
        allowed, forced, accepting = states[count - back]
        seen = [token for token in matcher.allowed() if token not in words.eos]
        assert (seen, matcher.forced(), matcher.accepting) == (allowed, forced, accepting)
    with pytest.raises(GrammarError):
        matcher.rollback(1)


def test_copy_is_independent(words: Vocabulary) -> None:
    matcher = compile_grammar(words, 'start: "a" | "b" "c"')
    before = matcher.allowed()
    twin = matcher.copy()
    twin.consume(words.encode("b"))
    assert matcher.allowed() == before
    assert twin.forced() == words.encode("c")
    assert compile_grammar(words, 'start: "a" | "b" "c"').allowed() == before


def test_refused_tokens_change_nothing(words: Vocabulary) -> None:
    matcher = compile_grammar(words, 'start: ("ab" | "cd") "e"')
    before = matcher.allowed()
    with pytest.raises(GrammarError, match="not allowed"):
        matcher.consume(words.encode("cdx"))
    assert matcher.allowed() == before
    matcher.consume(words.encode("cde"))
    assert matcher.stopped and matcher.accepting


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('start: "FLOW" NAM\nNAME: "a"', r"1\(8\): unknown name"),
        ("start: X\nX: /(/", "unclosed group"),
        ("start: (", r"1\("),
        ("", "Empty grammar"),
        ("start: X\nX: /a/ & /b/", "dead end"),
    ],
)
def test_wrong_grammars_are_refused_with_their_place(vocabulary: Vocabulary, text: str, message: str) -> None:
    with pytest.raises(GrammarError, match=message):
        compile_grammar(vocabulary, text)
    with pytest.raises(GrammarError, match=message):  # and again: an error is not kept as a grammar
        compile_grammar(vocabulary, text)


def test_dead_end_in_the_middle_raises(vocabulary: Vocabulary) -> None:
    matcher = compile_grammar(vocabulary, 'start: "FLOW" X\nX: /a/ & /b/')
    with pytest.raises(GrammarError, match="dead end"):
        for _ in range(9):
            matcher.consume(matcher.allowed()[:1])


@pytest.mark.parametrize("names", [20_000, 100_000])
def test_a_hundred_thousand_names_run(nemo: Vocabulary, names: int) -> None:
    """As a terminal; llguidance's own limits end this at build time."""
    grammar = 'start: "table " NAME "\\n"\nNAME: ' + " | ".join(f'"u_{i * 7919 % 1000003}_name"' for i in range(names))
    matcher = compile_grammar(nemo, grammar)
    while not matcher.stopped:
        matcher.consume(matcher.allowed()[-1:])
    assert matcher.accepting


def test_names_as_rule_alternatives_run_too(nemo: Vocabulary) -> None:
    """5,000 of them pass the build but not the first mask under llguidance's own limits."""
    matcher = compile_grammar(nemo, "start: " + " | ".join(f'"n{i * 7919}" "x"' for i in range(5000)))
    while not matcher.stopped:
        matcher.consume(matcher.allowed()[:1])
    assert matcher.accepting


def test_built_grammars_are_bounded_and_shared_by_threads(nemo: Vocabulary) -> None:
    texts = [f'start: "n{i % 300}"' for i in range(900)]
    with ThreadPoolExecutor(4) as pool:
        firsts = list(pool.map(lambda text: compile_grammar(nemo, text).forced(), texts))
    assert firsts == [compile_grammar(nemo, text).forced() for text in texts]
    assert len(nemo.built) <= KEPT_GRAMMARS
