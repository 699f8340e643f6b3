"""Writing one output: decision by decision, and always such that it can still be completed in time.

Safe states are looked for as it goes. When the budget is used up before the output has ended, it is cut
back to the last safe state and closed from there; text is streamed up to that state only.
"""

from __future__ import annotations

import codecs
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from decoding.budget import PATH_LIMIT
from decoding.choose import Sample, choose
from decoding.constraint import Constraint
from decoding.errors import BudgetError, DecodeError, GrammarError
from decoding.lane import Lane
from decoding.output import Bits, Output
from decoding.result import Choice, Decoded, Reason, Stats
from decoding.vocabulary import Vocabulary

#: Tokens written at most between two looks at the closing path, when nothing is streamed.
_STRIDE = 8


@dataclass(frozen=True)
class _Safe:
    """A state whose closing path fits into the budget: what had been written, and the path."""

    tokens: int
    segments: int
    choices: int
    forced: int
    closing: list[list[int]]


class Writer:
    """One output under construction, the decisions in it, and its way to an end.

    Args:
        prompt: tokens before the output.
        positions: tokens that the model can take in all.

    Attributes:
        output: what has been written.
        limit: tokens that it may have.
        reason: why it has ended; None while it has not.

    Raises:
        BudgetError: `max_tokens` is below what a complete output takes.
        DecodeError: the model's positions are.
        GrammarError: the grammar is wrong, or no way to its end was found.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        constraint: Constraint,
        sample: Sample,
        *,
        max_tokens: int,
        prompt: int,
        positions: int,
        on_text: Callable[[str], None] | None = None,
    ):
        self.vocabulary = vocabulary
        self.sample = sample
        self.limit = min(max_tokens, positions - prompt)
        self.mask_seconds = 0.0
        self.reason: Reason | None = None
        self.choices: list[Choice] = []
        self.decide = choose
        self.emit = on_text
        self._characters = codecs.getincrementaldecoder("utf-8")()
        self._emitted = self._next_look = 0
        self._position = self._placed = 0
        self._bits: Bits | None = None  # the tokens allowed here, while the model is being asked
        begun = time.perf_counter()
        self.output = Output(vocabulary, constraint)
        self._safe = self._start(prompt, max_tokens)
        self.mask_seconds += time.perf_counter() - begun

    def _start(self, prompt: int, max_tokens: int) -> _Safe:
        closing = self.output.closing()
        minimum = sum(map(len, closing))
        if minimum > max_tokens:
            raise BudgetError(
                f"max_tokens={max_tokens} is too small: a complete output needs at least {minimum} tokens", minimum
            )
        if minimum > self.limit:
            raise DecodeError(
                f"the prompt of {prompt} tokens leaves {self.limit} of the model's positions, and a complete output "
                f"needs at least {minimum}: shorten the prompt"
            )
        return _Safe(0, 1, 0, 0, closing)

    def advance(self, lane: Lane) -> None:
        """Write until the output has ended, or logits are wanted that `lane` does not have."""
        begun = time.perf_counter()
        self._advance(lane)
        self.mask_seconds += time.perf_counter() - begun

    def _advance(self, lane: Lane) -> None:
        while self.reason is None:
            if self._bits is None:
                self._bits = self._settle()
            if self._bits is None:
                return
            row = lane.logits(self.output.tokens)
            if row is None:
                return
            choice, token = self.decide(row, self._bits, self.sample, self.vocabulary.decode, self._place())
            self._bits = None
            self.choices.append(replace(choice, text="") if token in self.vocabulary.eos else choice)
            self.output.append(token)

    def stop(self) -> None:
        """End the output by its closing path."""
        self._look(now=True)
        self.reason = "stop"

    def _settle(self) -> Bits | None:
        """Write what needs no model; the allowed tokens where it is asked, None at an end."""
        output = self.output
        bits = output.settle(self.limit)
        if len(output.tokens) > self.limit:
            self.reason = "budget"
        elif bits is None:
            self.reason = "complete"
            self._safe = self._here([[]])
        elif len(output.tokens) == self.limit and not bits[list(self.vocabulary.eos)].any():
            self.reason = "budget"
        else:
            self._look(now=False)
            return bits
        return None

    def _look(self, now: bool) -> None:
        """Make this state the safe one, if its closing path fits; and stream up to the safe one."""
        written = len(self.output.tokens)
        if self.limit - written > PATH_LIMIT and not now:  # it fits, since no closing path is longer
            self._stream(self.output.tokens)
            return
        if now or written >= self._next_look or self.emit is not None:
            closing = self.output.closing()
            slack = self.limit - written - sum(map(len, closing))
            if slack >= 0:
                self._safe = self._here(closing)
            self._next_look = written + max(1, min(_STRIDE, slack // 4))
        self._stream(self.output.tokens[: self._safe.tokens])

    def _here(self, closing: list[list[int]]) -> _Safe:
        output = self.output
        return _Safe(len(output.tokens), len(output.starts), len(self.choices), output.forced, closing)

    def _stream(self, tokens: list[int]) -> None:
        if self.emit is None or len(tokens) <= self._emitted:
            return
        piece = self._characters.decode(self.vocabulary.decode_bytes(tokens[self._emitted :]))
        self._emitted = len(tokens)
        if piece:
            self.emit(piece)

    def _place(self) -> int:
        """Characters written so far (a character cut in two is not counted yet)."""
        raw = self.vocabulary.decode_bytes(self.output.tokens[self._placed :])
        self._position += sum((byte & 0xC0) != 0x80 for byte in raw)
        self._placed = len(self.output.tokens)
        return self._position

    def result(self, lane: Lane, *, prompt: int, cached: int, passes: int, model_seconds: float) -> Decoded:
        """The output, when it has ended."""
        assert self.reason is not None
        safe = self._safe
        if safe.tokens < self._emitted:  # streamed where a closing path of at most PATH_LIMIT would have fitted
            raise GrammarError(f"no end within {PATH_LIMIT} tokens: give the constraint closers that leave its loops")
        bounds = [*self.output.starts[: safe.segments], safe.tokens]
        segments = [self.output.tokens[begin:end] for begin, end in itertools.pairwise(bounds)]
        segments[-1] = segments[-1] + safe.closing[0]
        segments += safe.closing[1:]
        tokens = [token for segment in segments for token in segment]
        texts = tuple(self.vocabulary.decode_bytes(segment).decode("utf-8") for segment in segments)
        self._stream(tokens)
        stats = Stats(
            prompt_tokens=prompt,
            cached_prompt_tokens=cached,
            output_tokens=len(tokens),
            forced_tokens=safe.forced,
            closing_tokens=len(tokens) - safe.tokens,
            passes=passes,
            mask_seconds=self.mask_seconds,
            model_seconds=model_seconds,
            finish_reason=self.reason,
            row_passes=lane.passes,
            drafted_tokens=lane.drafted,
            accepted_tokens=lane.accepted,
        )
        return Decoded("".join(texts), texts, tuple(tokens), tuple(self.choices[: safe.choices]), stats)
