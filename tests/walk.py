"""Random walks through grammars: tokens drawn from the mask, closed by the shortest path.

A token drawn evenly would nearly always be the middle of some text. So a walk draws what the token
is good for first (to end something, to begin a pill), then its first byte, then the token.
"""

import random
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from decoding import Constraint, Matcher, Vocabulary, closing_path, compile_grammar
from decoding.matcher import allowed_ids
from flowdsl.compile import fill
from flowdsl.model import Flow
from flowdsl.outline import Outline, read_outline
from flowdsl.scope import Scope
from flowdsl.specialise import inputs_constraint

#: Kinds of tokens: how many in a hundred draws take one of this kind where there is one.
ENDING, PILL = 30, 15


@dataclass(frozen=True)
class Tokens:
    """What a walk knows of each token of a vocabulary."""

    first: npt.NDArray[np.uint8]
    ending: npt.NDArray[np.bool_]
    pill: npt.NDArray[np.bool_]


@cache
def tokens_of(vocabulary: Vocabulary) -> Tokens:
    texts = vocabulary.token_bytes
    return Tokens(
        np.array([text[0] if text else 0 for text in texts], dtype=np.uint8),
        np.array([any(mark in text for mark in b'"}\n') for text in texts]),
        np.array([b"{" in text for text in texts]),
    )


@dataclass
class Walk:
    """One walk: what chooses, and how many tokens it may choose before it is closed."""

    vocabulary: Vocabulary
    rng: random.Random
    tokens: int = 60
    stop: float = 0.15

    def text(self, constraint: Constraint | None) -> str:
        """The text of a walk through a constraint and those that follow it."""
        text = ""
        while constraint is not None:
            piece = self.piece(constraint)
            text += piece
            constraint = constraint.after(piece)
        return text

    def piece(self, constraint: Constraint) -> str:
        matcher = compile_grammar(self.vocabulary, constraint.grammar)
        piece = b""
        while not (matcher.accepting and (matcher.stopped or self.tokens <= 0)):
            if self.tokens <= 0:
                rest = closing_path(matcher, replace(constraint, then=None), piece)
                return (piece + self.vocabulary.decode_bytes(rest)).decode()
            token = self.choose(matcher)
            if token is None:
                break
            matcher.consume([token])
            piece += self.vocabulary.token_bytes[token]
            self.tokens -= 1
        return piece.decode()

    def choose(self, matcher: Matcher) -> int | None:
        """An allowed token; None: the end of this piece."""
        allowed = allowed_ids(matcher.mask())
        if matcher.accepting:
            allowed = allowed[~np.isin(allowed, self.vocabulary.eos)]
            if not len(allowed) or self.rng.random() < self.stop:
                return None
        if len(allowed) == 1:
            return int(allowed[0])
        known = tokens_of(self.vocabulary)
        draw = self.rng.randrange(100)
        wanted = known.ending if draw < ENDING else known.pill if draw < ENDING + PILL else None
        if wanted is not None and (some := allowed[wanted[allowed]]).size:
            allowed = some
        firsts = known.first[allowed]
        first = self.rng.choice(np.flatnonzero(np.bincount(firsts)).tolist())
        return int(self.rng.choice(allowed[firsts == first]))


@dataclass(frozen=True)
class Walked:
    """A flow with the texts it was read from."""

    outline: str
    inputs: tuple[str, ...]
    flow: Flow


def walk_flow(outline: Outline, vocabulary: Vocabulary, rng: random.Random, tokens: int = 60) -> Walked:
    """A flow by random walks: its outline, then the inputs of the trigger and of every step in order."""
    text = Walk(vocabulary, rng, tokens).text(outline.constraint())
    state = read_outline(text, outline)
    flow = state.flow
    for at in flow.owners:
        inputs_constraint(state.scope(), at)  # raises Empty for a step that cannot be filled
    inputs = []
    for at in flow.owners:
        scope = Scope.of(flow, outline.instance, state.loops)
        walk = Walk(vocabulary, rng, rng.choice((2, 20, 60)), stop=0.3)
        inputs.append(walk.text(inputs_constraint(scope, at)))
        flow = fill(flow, at, inputs[-1], outline.instance, state.loops)
    return Walked(text, tuple(inputs), flow)
