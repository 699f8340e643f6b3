"""Decode one output under a constraint: forced runs without a choice, one pass for each choice.

Greedy output is token for token what masking and taking the argmax at every single position gives: what is
forced has one candidate there, so no logits are needed for it, and it is read together with the position
that decides the next choice. Batches and drafts are not here.
"""

from __future__ import annotations

import codecs
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from decoding.cache import PrefixCache
from decoding.constraint import Constraint
from decoding.errors import BudgetError, DecodeError
from decoding.model import Model
from decoding.output import Bits, Output

Row = npt.NDArray[np.float32]

#: Tokens written at most between two looks at the closing path, when nothing is streamed.
_STRIDE = 8


@dataclass(frozen=True)
class Choice:
    """One decision of the model.

    Attributes:
        position: where the token's text begins in `Decoded.text`, in characters.
        text: the chosen token; "" for the end of a segment.
        margin: how far the best allowed token is above the second best, in log-probability (nats);
            infinite when the second has probability 0.
        second: the text of the second best.
        removed: the probability mass that the mask took away, 0 to 1.
    """

    position: int
    text: str
    margin: float
    second: str
    removed: float


@dataclass(frozen=True)
class Stats:
    """What an output took. Counts are tokens, times are seconds.

    `forced_tokens` and `closing_tokens` (written to end within the budget) are part of `output_tokens`.
    `mask_seconds` is the time of the grammar, `model_seconds` that of passes and choices.
    `finish_reason` is "complete" (the model ended it), "budget", or "stop".
    """

    prompt_tokens: int
    cached_prompt_tokens: int
    output_tokens: int
    forced_tokens: int
    closing_tokens: int
    passes: int
    mask_seconds: float
    model_seconds: float
    finish_reason: Literal["complete", "budget", "stop"]


@dataclass(frozen=True)
class Decoded:
    """A complete output.

    Attributes:
        text: all segments joined, always a complete sentence of the grammar(s).
        segments: the text of each.
        tokens: ids of the text, without EOS.
        choices: what the model decided, in order.
        stats: what it took.
    """

    text: str
    segments: tuple[str, ...]
    tokens: tuple[int, ...]
    choices: tuple[Choice, ...]
    stats: Stats


def decode(
    model: Model,
    prompt_ids: Sequence[int],
    constraint: Constraint,
    *,
    max_tokens: int,
    temperature: float = 0.0,
    seed: int | None = None,
    cache: PrefixCache | None = None,
    on_text: Callable[[str], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Decoded:
    """Continue a prompt with a text that `constraint` accepts.

    Args:
        model: what chooses.
        prompt_ids: at least one token; `Model.chat` makes them.
        constraint: what the output must look like.
        max_tokens: tokens of the output at most, forced ones included, over all segments. The output is
            complete whatever it is; at or above the length of the unlimited output it is that output.
            (It is also held to the positions that the model has left after the prompt.)
        temperature: 0 takes the most probable allowed token, otherwise samples from the masked softmax.
        seed: makes sampling repeatable.
        cache: shares the reading of common prompt prefixes between calls.
        on_text: called with each new piece of text that will stay.
        stop: asked before each pass; once true, the output is ended by its closing path, without the model.

    Raises:
        GrammarError: a grammar is wrong, has a dead end, or no way to its end was found; for the first one
            before the first pass.
        BudgetError: `max_tokens` is below what a complete output takes; before the first pass.
        DecodeError: the model cannot read the prompt or returned no usable logits.

    >>> from decoding import Constraint, decode, load_model  # doctest: +SKIP
    >>> model = load_model()  # doctest: +SKIP
    >>> prompt = model.chat([{"role": "user", "content": "Is the sky blue?"}])  # doctest: +SKIP
    >>> decode(model, prompt, Constraint('start: "yes" | "no"'), max_tokens=4).text  # doctest: +SKIP
    'yes'
    """
    if temperature < 0:
        raise ValueError("temperature must not be negative")
    return _Decoding(model, prompt_ids, constraint, max_tokens, _sampler(temperature, seed), cache, on_text).run(stop)


@dataclass(frozen=True)
class _Safe:
    """A state whose closing path fits into the budget: what had been written, and the path."""

    tokens: int
    segments: int
    choices: int
    forced: int
    closing: list[list[int]]


class _Decoding:
    """One call of `decode`.

    Safe states are looked for as it goes. When the budget is used up before the output has ended, it is cut
    back to the last safe state and closed from there; text is streamed up to that state only.
    """

    def __init__(
        self,
        model: Model,
        prompt_ids: Sequence[int],
        constraint: Constraint,
        max_tokens: int,
        sample: Callable[[Row], int],
        prefixes: PrefixCache | None,
        on_text: Callable[[str], None] | None,
    ):
        self.vocabulary = model.vocabulary
        self.sample = sample
        self.clock = time.perf_counter()
        self.mask_seconds = self.model_seconds = 0.0
        self.limit = min(max_tokens, model.positions - len(prompt_ids))
        self.output = Output(self.vocabulary, constraint)
        self.choices: list[Choice] = []
        self.safe = self.start(len(prompt_ids), max_tokens)
        self.reader = _Reader(model, prompt_ids, prefixes)
        self.emit = on_text
        self.characters = codecs.getincrementaldecoder("utf-8")()
        self.emitted = self.next_look = 0
        self.position, self.placed = 0, 0

    def start(self, prompt: int, max_tokens: int) -> _Safe:
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

    def run(self, stop: Callable[[], bool] | None) -> Decoded:
        reason: Literal["complete", "budget", "stop"] = "budget"
        output = self.output
        while True:
            bits = output.settle(self.limit)
            if len(output.tokens) > self.limit:
                break
            if bits is None:
                reason = "complete"
                self.safe = self.here([[]])
                break
            if len(output.tokens) == self.limit and not bits[list(self.vocabulary.eos)].any():
                break
            stopping = stop is not None and stop()
            self.look(stopping)
            if stopping:
                reason = "stop"
                break
            self.choose(bits)
        return self.result(reason)

    def choose(self, bits: Bits) -> None:
        self.mask_seconds += self.lap()
        row = self.reader.logits(self.output.tokens)
        choice, token = _choose(row, bits, self.sample, self.vocabulary.decode, self.place())
        if token in self.vocabulary.eos:
            choice = replace(choice, text="")
        self.choices.append(choice)
        self.model_seconds += self.lap()
        self.output.append(token)

    def look(self, now: bool) -> None:
        """Make this state the safe one, if its closing path fits; and stream up to the safe one."""
        written = len(self.output.tokens)
        if now or written >= self.next_look or self.emit is not None:
            closing = self.output.closing()
            slack = self.limit - written - sum(map(len, closing))
            if slack >= 0:
                self.safe = self.here(closing)
            self.next_look = written + max(1, min(_STRIDE, slack // 4))
        self.stream(self.output.tokens[: self.safe.tokens])

    def here(self, closing: list[list[int]]) -> _Safe:
        output = self.output
        return _Safe(len(output.tokens), len(output.starts), len(self.choices), output.forced, closing)

    def stream(self, tokens: list[int]) -> None:
        if self.emit is None or len(tokens) <= self.emitted:
            return
        piece = self.characters.decode(self.vocabulary.decode_bytes(tokens[self.emitted :]))
        self.emitted = len(tokens)
        if piece:
            self.emit(piece)

    def place(self) -> int:
        """Characters written so far (a character cut in two is not counted yet)."""
        raw = self.vocabulary.decode_bytes(self.output.tokens[self.placed :])
        self.position += sum((byte & 0xC0) != 0x80 for byte in raw)
        self.placed = len(self.output.tokens)
        return self.position

    def result(self, reason: Literal["complete", "budget", "stop"]) -> Decoded:
        safe = self.safe
        bounds = [*self.output.starts[: safe.segments], safe.tokens]
        segments = [self.output.tokens[begin:end] for begin, end in itertools.pairwise(bounds)]
        segments[-1] = segments[-1] + safe.closing[0]
        segments += safe.closing[1:]
        tokens = [token for segment in segments for token in segment]
        texts = tuple(self.vocabulary.decode_bytes(segment).decode("utf-8") for segment in segments)
        self.stream(tokens)
        self.mask_seconds += self.lap()
        stats = Stats(
            prompt_tokens=self.reader.prompt_tokens,
            cached_prompt_tokens=self.reader.cached_tokens,
            output_tokens=len(tokens),
            forced_tokens=safe.forced,
            closing_tokens=len(tokens) - safe.tokens,
            passes=self.reader.passes,
            mask_seconds=self.mask_seconds,
            model_seconds=self.model_seconds,
            finish_reason=reason,
        )
        return Decoded("".join(texts), texts, tuple(tokens), tuple(self.choices[: safe.choices]), stats)

    def lap(self) -> float:
        before, self.clock = self.clock, time.perf_counter()
        return self.clock - before


class _Reader:
    """Feeds the prompt and the output to the model, each token once."""

    def __init__(self, model: Model, prompt: Sequence[int], prefixes: PrefixCache | None):
        self.model, self.prefixes = model, prefixes
        self.prompt = list(prompt)
        if not self.prompt:
            raise DecodeError("the prompt is empty: give at least one token")
        if not 0 <= min(self.prompt) <= max(self.prompt) < model.vocabulary.size:
            raise DecodeError(f"the prompt has ids outside 0..{model.vocabulary.size - 1}: wrong tokenizer?")
        self.prompt_tokens, self.cached_tokens, self.passes, self.read = len(self.prompt), 0, 0, 0
        self.past: Any = None
        self.row: Row | None = None

    def logits(self, output: Sequence[int]) -> Row:
        """Logits after the prompt and `output`, which begins with what it was before."""
        if self.row is None:
            if self.prefixes is not None:
                self.past, self.cached_tokens = self.prefixes.start(self.model.network, self.prompt)
            self.pass_over([*self.prompt[self.cached_tokens :], *output])
            if self.prefixes is not None:
                self.prefixes.keep(self.model.network, self.prompt, self.past)
        elif len(output) > self.read:
            self.pass_over(output[self.read :])
        self.read = len(output)
        assert self.row is not None
        return self.row

    def pass_over(self, tokens: Sequence[int]) -> None:
        row, self.past = self.model.read(tokens, self.past)
        self.row = row.numpy()
        self.passes += 1
        if not np.isfinite(self.row.max()):
            raise DecodeError(
                "the model returned logits that are not numbers: its weights are damaged, or its numbers "
                f"overflow in {self.model.dtype} (try dtype=torch.float32)"
            )


def _choose(
    row: Row, bits: Bits, sample: Callable[[Row], int], decode_ids: Callable[[Sequence[int]], str], position: int
) -> tuple[Choice, int]:
    # numpy, since torch spreads vectors of this size over threads, which costs milliseconds on busy cores
    ids = np.flatnonzero(bits)
    allowed = row[ids]
    best = int(allowed.argmax())
    top = float(allowed[best])
    if top == -math.inf:
        raise DecodeError("the model gives every token that the grammar allows the probability 0")
    token = int(ids[sample(allowed)])
    kept = float(np.exp(allowed - row.max()).sum(dtype=np.float64) / np.exp(row - row.max()).sum(dtype=np.float64))
    allowed[best] = -math.inf
    second = int(allowed.argmax())
    margin = top - float(allowed[second])
    runner_up = "" if margin == math.inf else decode_ids([int(ids[second])])
    return Choice(position, decode_ids([token]), margin, runner_up, min(1.0, max(0.0, 1.0 - kept))), token


def _sampler(temperature: float, seed: int | None) -> Callable[[Row], int]:
    """Picks an index out of the allowed logits."""
    if temperature == 0:
        return lambda allowed: int(allowed.argmax())
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)

    def sample(allowed: Row) -> int:
        shares = np.exp((allowed.astype(np.float64) - allowed.max()) / temperature).cumsum()
        point = torch.rand((), generator=generator, dtype=torch.float64).item() * shares[-1]
        return min(int(np.searchsorted(shares, point, side="right")), len(shares) - 1)

    return sample
