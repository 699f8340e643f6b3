"""What has been written so far: tokens, segments, and all that follows without asking the model."""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt

from decoding.budget import PATH_LIMIT, closing_segments
from decoding.constraint import Constraint
from decoding.errors import GrammarError
from decoding.matcher import allowed_bits, compile_grammar
from decoding.vocabulary import Vocabulary

Bits = npt.NDArray[np.bool_]


class Output:
    """An output under construction.

    Attributes:
        tokens: ids so far, EOS never among them.
        starts: index of the first token of each segment.
        forced: how many tokens were forced.
        ended: whether the last segment is complete.

    Raises:
        GrammarError: the first grammar is wrong.
    """

    def __init__(self, vocabulary: Vocabulary, constraint: Constraint):
        self.vocabulary = vocabulary
        self.tokens: list[int] = []
        self.starts = [0]
        self.forced = 0
        self.ended = False
        self._constraint = constraint
        self._matcher = compile_grammar(vocabulary, constraint.grammar)
        self._eos = list(vocabulary.eos)
        self._known: dict[tuple[int, str], tuple[Constraint, Constraint | None]] = {}

    def append(self, token: int) -> None:
        """Write a token that the model chose; an EOS token ends the segment instead."""
        if token in self._eos:
            self._end_segment()
        else:
            self._matcher.consume([token])
            self.tokens.append(token)

    def settle(self, limit: int) -> Bits | None:
        """Write everything that needs no model.

        Args:
            limit: give up when there are more tokens than this.

        Returns:
            The allowed tokens (size of the vocabulary) where the model must choose; None when the output
            has ended or passed the limit.
        """
        while self.run(limit):
            bits = allowed_bits(self._matcher.mask(), self.vocabulary.size)
            count, ends = np.count_nonzero(bits), np.count_nonzero(bits[self._eos])
            if count == ends:
                self._end_segment()
            elif count > 1:
                return bits
            else:
                self._write([int(bits.argmax())])
        return None

    def run(self, limit: int) -> bool:
        """Write the tokens that are forced; whether there may be a choice after them.

        Args:
            limit: give up when there are more tokens than this.
        """
        while not self.ended and len(self.tokens) <= limit:
            if self._matcher.stopped:
                self._end_segment()
            elif forced := self._matcher.forced():
                self._write(forced)
            else:
                return True
        return False

    def fork(self) -> Output:
        """An independent output in the same state; what has been worked out about segments is shared."""
        fork = copy.copy(self)
        fork.tokens, fork.starts = list(self.tokens), list(self.starts)
        fork._matcher = self._matcher.copy()
        return fork

    def accepts(self, token: int) -> bool:
        """Whether `token` may come next (an EOS token is none)."""
        return token not in self._eos and self._matcher.accepts([token]) == 1

    def segment(self) -> str:
        """The text of the current segment so far."""
        return self._segment().decode("utf-8", "ignore")

    @property
    def constraint(self) -> Constraint:
        """That of the current segment."""
        return self._constraint

    def closing(self) -> list[list[int]]:
        """The closing path from here, by segments; the first is the rest of the current one."""
        return closing_segments(self._matcher, self._constraint, self._segment())

    def _write(self, forced: list[int]) -> None:
        self._matcher.consume(forced)
        self.tokens += forced
        self.forced += len(forced)

    def _segment(self) -> bytes:
        return self.vocabulary.decode_bytes(self.tokens[self.starts[-1] :])

    def _after(self, text: str) -> Constraint | None:
        """What follows the current segment; worked out once for an output and its forks."""
        key = (id(self._constraint), text)
        if key not in self._known:
            self._known[key] = (self._constraint, self._constraint.after(text))  # kept, so that its id stays its own
        return self._known[key][1]

    def _end_segment(self) -> None:
        following = self._after(self._segment().decode("utf-8"))
        if following is None:
            self.ended = True
            return
        if len(self.starts) > PATH_LIMIT and self.starts[-PATH_LIMIT] == len(self.tokens):
            raise GrammarError(f"{PATH_LIMIT} empty segments in a row: `then` never returns None")
        self._constraint = following
        self._matcher = compile_grammar(self.vocabulary, following.grammar)
        self.starts.append(len(self.tokens))
