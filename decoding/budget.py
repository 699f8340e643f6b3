"""Ending in time: the way from any state of an output to its end, and how long it is.

An output cut off at `max_tokens` is no sentence of the grammar. So decoding keeps to states from which a
*closing path*, a fixed sequence of tokens that completes the output, still fits into what is left.
"""

from __future__ import annotations

import numpy as np

from decoding.constraint import Constraint
from decoding.errors import GrammarError
from decoding.matcher import Matcher, allowed_ids, compile_grammar
from decoding.vocabulary import ENDING, Vocabulary

#: No closing path is longer, over all its segments: a longer one is a loop of the grammar that the
#: closers do not leave.
PATH_LIMIT = 400


def minimum_tokens(vocabulary: Vocabulary, constraint: Constraint) -> int:
    """The smallest `max_tokens` with which `constraint` can be decoded.

    Raises:
        GrammarError: the grammar is wrong, has a dead end, or no way to its end was found.
    """
    return len(closing_path(compile_grammar(vocabulary, constraint.grammar), constraint))


def closing_path(matcher: Matcher, constraint: Constraint, text: bytes = b"") -> list[int]:
    """Tokens that complete the output from here, [] where it is complete.

    Deterministic. Takes what is forced; else the first closer that fits whole, or what is left of it
    where the text has begun it; else the shortest allowed token, those first that are made of quotes, braces and
    newlines. It ends a segment as soon as that may end and goes on through `Constraint.then`.

    Args:
        matcher: the state, in the first segment that the path is about; not changed.
        constraint: the constraint of that segment.
        text: what the segment holds so far.

    Raises:
        GrammarError: a dead end, or more than `PATH_LIMIT` tokens.
    """
    return [token for segment in closing_segments(matcher, constraint, text) for token in segment]


def closing_segments(matcher: Matcher, constraint: Constraint, text: bytes = b"") -> list[list[int]]:
    """`closing_path` by segments: the rest of this one, which may be empty, and all that follow."""
    vocabulary = matcher.vocabulary
    path: list[int] = []
    segments: list[list[int]] = []
    segment: Constraint | None = constraint
    while len(segments) < PATH_LIMIT:
        if segment is None:
            return segments
        matcher = matcher.copy()
        begun = len(path)
        while not matcher.accepting:
            step = matcher.forced() or _closer(matcher, segment, text) or [_shortest(matcher, path)]
            matcher.consume(step)
            path += step
            text += vocabulary.decode_bytes(step)
            if len(path) > PATH_LIMIT:
                raise GrammarError(
                    f"no end within {PATH_LIMIT} tokens, lately {vocabulary.decode(path[-12:])!r}: "
                    "give the constraint closers that leave this part of the grammar"
                )
        segments.append(path[begun:])
        segment = segment.after(text.decode("utf-8"))
        if segment is not None:
            matcher, text = compile_grammar(vocabulary, segment.grammar), b""
    raise GrammarError(f"no end within {PATH_LIMIT} segments: `then` never returns None")


def _closer(matcher: Matcher, constraint: Constraint, text: bytes) -> list[int]:
    """Tokens of the first closer that fits whole here; of its rest only, where `text` has begun it."""
    tail = text[-64:].decode("utf-8", "ignore")
    for closer in constraint.closers:
        begun = [start for start in range(len(closer) - 1, 0, -1) if tail.endswith(closer[:start])]
        for start in (*begun, 0):
            tokens = matcher.vocabulary.encode(closer[start:])
            if tokens and matcher.accepts(tokens) == len(tokens):
                return tokens
    return []


def _shortest(matcher: Matcher, path: list[int]) -> int:
    """The shortest allowed token; one that the path has not used before it, so that no loop is endless."""
    ids = allowed_ids(matcher.mask())
    ranks = matcher.vocabulary.closing_ranks[ids]
    if path:
        used = np.bincount(path, minlength=matcher.vocabulary.size)[ids]
        ranks += np.where(ranks < ENDING, 0, used) << 32
    return int(ids[ranks.argmin()])
