"""Random walks through grammars: tokens drawn from the mask, closed by the shortest path."""

import random
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from decoding import Constraint, Matcher, Vocabulary, closing_path, compile_grammar
from flowdsl.compile import fill
from flowdsl.model import Flow
from flowdsl.outline import Outline, read_outline
from flowdsl.scope import Scope
from flowdsl.specialise import specialised_inputs

ENDINGS = b'"}\n'


@dataclass
class Walk:
    """One walk: a policy that chooses tokens, and the tokens it has left."""

    vocabulary: Vocabulary
    rng: random.Random
    tokens: int = 60

    def text(self, constraint: Constraint | None) -> str:
        """The text of a walk through a constraint and those that follow it."""
        text = ""
        while constraint is not None:
            matcher = compile_grammar(self.vocabulary, constraint.grammar)
            piece = b""
            while (token := self.choose(matcher)) is not None:
                matcher.consume([token])
                piece += self.vocabulary.token_bytes[token]
                self.tokens -= 1
                if self.tokens <= 0:
                    rest = closing_path(matcher, replace(constraint, then=None), piece)
                    piece += self.vocabulary.decode_bytes(rest)
                    break
            text += piece.decode()
            constraint = constraint.after(piece.decode())
        return text

    def choose(self, matcher: Matcher) -> int | None:
        """A random allowed token, one time in three one that ends something; None: the end of this piece."""
        if self.tokens <= 0 and matcher.accepting:
            return None
        allowed = np.array(matcher.allowed())
        is_eos = np.isin(allowed, self.vocabulary.eos)
        if is_eos.any():
            if len(allowed) == 1 or self.rng.random() < 0.3:
                return None
            allowed = allowed[~is_eos]
        if len(allowed) > 1 and self.rng.random() < 0.35:
            ending = allowed[endings(self.vocabulary)[allowed]]
            allowed = ending if len(ending) else allowed
        return int(self.rng.choice(allowed))


@cache
def endings(vocabulary: Vocabulary) -> np.ndarray:
    """Which tokens hold a quote, a brace or a newline."""
    return np.array([any(mark in text for mark in ENDINGS) for text in vocabulary.token_bytes])


def walk_flow(outline: Outline, vocabulary: Vocabulary, rng: random.Random, tokens: int = 60) -> Flow:
    """A flow by random walks: its outline, then the inputs of the trigger and of every step in order."""
    text = Walk(vocabulary, rng, tokens).text(outline.constraint())
    state = read_outline(text, outline)
    flow = state.flow
    owners = [*([None] if flow.trigger is not None else []), *range(len(flow.components))]
    for at in owners:
        scope = Scope.of(flow, outline.instance, state.loops)
        constraint = Constraint(specialised_inputs(scope, at), ("\n", '"\n', '""\n'))
        flow = fill(flow, at, Walk(vocabulary, rng, 40).text(constraint), outline.instance, state.loops)
    return flow
