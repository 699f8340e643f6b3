"""Guesses at what comes next, read together with what is certain. They cost little and decide nothing.

Two sources: what a constraint offers (`Constraint.drafts`), and the prompt and the output themselves, where
what was just written has occurred before (prompt look-up). A guess is followed as far as the grammar
accepts it, through the forced runs and the segments that it meets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from decoding.constraint import Constraint
from decoding.lane import Draft
from decoding.output import Output
from decoding.vocabulary import Vocabulary

#: Guesses of one state that are followed, as branches.
BRANCHES = 3

#: Characters that must agree before a place in the prompt says what comes next.
AGREE = 4

#: Characters of a guess at most.
REACH = 120

#: Tokens of a rehearsal at most.
REHEARSED = 40

Propose = Callable[[Output], Iterable[str]]


def proposer(prompt: str) -> Propose:
    """What may come next in an output after `prompt`, best first."""

    def propose(output: Output) -> Iterator[str]:
        text = output.segment()
        yield from offered(output.constraint.drafts, text)
        written = output.vocabulary.decode_bytes(output.tokens).decode("utf-8", "ignore")
        for source in (written[:-1], prompt):
            found = look_up(source, written)
            if found:
                yield found

    return propose


def offered(drafts: tuple[str, ...] | Callable[[str], Iterable[str]], text: str) -> Iterable[str]:
    """What is left of the drafts after `text`: those that it has begun first, by how far.

    >>> list(offered(("look up", "update"), "we upd"))
    ['ate', 'look up']
    """
    if callable(drafts):
        return drafts(text)
    begun = [(_overlap(text, draft), draft) for draft in drafts]
    begun.sort(key=lambda pair: -pair[0])
    return [draft[size:] for size, draft in begun]


def _overlap(text: str, draft: str) -> int:
    """How much of the beginning of `draft` is the end of `text`; it does not begin within a word."""
    for size in range(min(len(text), len(draft)), 0, -1):
        if text.endswith(draft[:size]) and not (draft[0].isalnum() and text[: len(text) - size][-1:].isalnum()):
            return size
    return 0


def look_up(source: str, text: str) -> str:
    """What follows in `source` where most of the end of `text` occurs, the last such place; "" if too little does.

    >>> look_up("find the incidents they own", "step 1: find the inc")
    'idents they own'
    """
    if len(text) < AGREE:
        return ""
    best, length = -1, 0
    at = source.rfind(text[-AGREE:])
    while at >= 0:
        agreed = AGREE
        while agreed < min(len(text), at + AGREE, 64) and source[at + AGREE - agreed - 1] == text[-agreed - 1]:
            agreed += 1
        if agreed > length:
            best, length = at + AGREE, agreed
        at = source.rfind(text[-AGREE:], 0, at + AGREE - 1)
    return source[best : best + REACH] if best >= 0 else ""


def draft_tree(output: Output, propose: Propose, width: int, limit: int) -> tuple[Draft, ...]:
    """Guesses at what follows `output`, as a tree of at most `width` tokens.

    Args:
        output: where the model must choose next; not changed.
        limit: no guess goes beyond this many tokens of output.
    """
    roots: dict[int, Draft] = {}
    if width <= 0:
        return ()
    left = width
    guesses = list(islice(dict.fromkeys(filter(None, propose(output))), BRANCHES))
    for index, guess in enumerate(guesses):
        share = left if index == len(guesses) - 1 else (2 * left + 2) // 3
        left -= _follow(roots, output.fork(), guess, propose, share, limit)
        if left <= 0:
            break
    return tuple(roots.values())


def _follow(roots: dict[int, Draft], output: Output, guess: str, propose: Propose, share: int, limit: int) -> int:
    """Write `guess` into the tree as far as it fits, and what is guessed after it; how many tokens were added."""
    vocabulary = output.vocabulary
    branch = _Branch(roots)
    rest, tokens = guess.encode(), vocabulary.encode(guess)
    while branch.added < share:
        if not tokens:
            guess = next(iter(propose(output)), "")
            rest, tokens = guess.encode(), vocabulary.encode(guess)
            if not tokens:
                break
        token, *tokens = tokens
        if not output.accepts(token):
            break
        rest = rest[len(vocabulary.decode_bytes([token])) :]
        written = len(output.tokens)
        output.append(token)
        goes_on = output.run(limit)
        written_now = output.tokens[written:]
        branch.grow(written_now, share, goes_on)
        if len(written_now) > 1:
            forced = vocabulary.decode_bytes(written_now[1:])
            rest = rest[len(forced) :] if rest.startswith(forced) else b""
            tokens = vocabulary.encode(rest.decode("utf-8", "ignore"))
        if not goes_on:
            break
    return branch.added


def rehearse(vocabulary: Vocabulary, constraint: Constraint, limit: int = REHEARSED) -> None:
    """Write what the drafts say, without a model, so that what an output meets later is there already.

    Grammars are built, and the states of their lexers made, when they are first met: some 50 ms each time. Every
    other matcher of the same grammars finds them, since copies of a matcher share its lexer. Meant for a thread
    beside the passes of a model: both leave the interpreter to others.

    Raises:
        GrammarError: a grammar is wrong, or has a dead end.
    """
    output, propose = Output(vocabulary, constraint), proposer("")
    tokens: list[int] = []
    while len(output.tokens) < limit and (bits := output.settle(limit)) is not None:
        if not tokens or not bits[tokens[0]]:
            tokens = vocabulary.encode(next(iter(propose(output)), ""))
        if not tokens or not bits[tokens[0]]:
            return
        output.append(tokens.pop(0))


class _Branch:
    """The way down a tree of drafts."""

    def __init__(self, roots: dict[int, Draft]):
        self.children = roots
        self.added = 0

    def grow(self, tokens: list[int], share: int, goes_on: bool) -> None:
        """Go on by a choice and what it forces; the next choice, if there is one, comes after the last."""
        for index, token in enumerate(tokens):
            draft = self.children.get(token)
            if draft is None:
                if self.added >= share:
                    return
                draft = self.children[token] = Draft(token, False)
                self.added += 1
            draft.wanted |= goes_on and index == len(tokens) - 1
            self.children = draft.children
