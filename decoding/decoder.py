"""Decode outputs under constraints, one or many at once, in few forward passes.

    settle: forced tokens are written       draft: what may come next is guessed
            │                                       │
            ▼                                       ▼
    logits known? ── no ──► one pass reads, for all rows together, what is certain and what is guessed
            │ yes                                   │
            ▼                                       │
    choose under the mask, write ◄──────────────────┘

Each decision is made from the logits after exactly what has been written, as if there were no drafts and no
other rows: those only say what has been read already. So greedy output is token for token what masking and
taking the argmax at every single position gives, and samples follow the masked softmax.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from decoding.cache import PrefixCache
from decoding.choose import sampler
from decoding.constraint import Constraint
from decoding.draft import Propose, draft_tree, proposer
from decoding.errors import BudgetError, DecodeError, GrammarError
from decoding.lane import Draft, Lane
from decoding.model import Model
from decoding.reader import Job, Reader, open_reader
from decoding.result import Choice, Decoded, Reason, Stats
from decoding.writer import Writer

__all__ = ["Choice", "Decoded", "Reason", "Row", "Stats", "decode", "decode_batch"]

#: Tokens guessed in one pass, by one row alone and by all of a batch. With the embedded model in bf16 each costs
#: about 1 ms on one core, half that on two, where a pass over one token takes 31 and 23 ms: between 16 and 32
#: seconds a flow hardly change, passes fall by a fifth.
WIDTH, BATCH_WIDTH = 24, 32

#: Tokens of rows' prompts that one pass reads at most, where there are several (one row may have more).
PROMPT_WIDTH = 256


@dataclass(frozen=True)
class Row:
    """One output of a batch.

    Attributes:
        prompt: ids after the shared prefix.
        constraint: what the output must look like.
        max_tokens: as for `decode`.
        seed: makes sampling repeatable; a row gives the same alone and in any batch.
    """

    prompt: tuple[int, ...]
    constraint: Constraint
    max_tokens: int
    seed: int | None = None


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
    width: int = WIDTH,
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
        cache: shares the reading of common prefixes between calls.
        on_text: called with each new piece of text that will stay.
        stop: asked before each pass; once true, the output is ended by its closing path, without the model.
        width: tokens that are guessed and read in one pass at most; 0 for no drafts.

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
    tell = None if on_text is None else lambda _, piece: on_text(piece)
    row = Row((), constraint, max_tokens, seed)
    return _decode(model, prompt_ids, [row], temperature, cache, tell, None, stop, width)[0]


def decode_batch(
    model: Model,
    prefix: Sequence[int],
    rows: Sequence[Row],
    *,
    temperature: float = 0.0,
    cache: PrefixCache | None = None,
    on_text: Callable[[int, str], None] | None = None,
    on_done: Callable[[int, Decoded], None] | None = None,
    stop: Callable[[], bool] | None = None,
    width: int = BATCH_WIDTH,
) -> list[Decoded]:
    """Continue each of several prompts that begin with `prefix`, all in the same passes.

    What comes out is what `decode` gives for each row alone (up to the rounding of the model's numbers).
    The prefix is read once; rows may differ in length, and leave the batch when they have ended.

    Args:
        prefix: ids that all prompts begin with.
        rows: what follows the prefix, and what is to come.
        on_text: called with the index of a row and each new piece of its text.
        on_done: called with the index of a row and its output as soon as that has ended.
        stop: asked before each pass; once true, all rows are ended by their closing paths.
        width: tokens that are guessed and read in one pass at most, over all rows; 0 for no drafts.
        temperature, cache: as for `decode`.

    Returns:
        The outputs in the order of `rows`.

    Raises:
        GrammarError, BudgetError, DecodeError: as for `decode`; the message says which row.
    """
    return _decode(model, prefix, rows, temperature, cache, on_text, on_done, stop, width)


def _decode(
    model: Model,
    prefix: Sequence[int],
    rows: Sequence[Row],
    temperature: float,
    cache: PrefixCache | None,
    on_text: Callable[[int, str], None] | None,
    on_done: Callable[[int, Decoded], None] | None,
    stop: Callable[[], bool] | None,
    width: int,
) -> list[Decoded]:
    if not rows:
        return []
    for row in rows:
        _check_prompt(model, [*prefix, *row.prompt])
    writers = [_writer(model, len(prefix), index, rows, temperature, on_text) for index in range(len(rows))]
    batch = _Batch(model, prefix, rows, writers, cache, on_done, width)
    while batch.advance():
        if stop is not None and stop():
            batch.stop()
        else:
            batch.read()
    return batch.results()


def _writer(
    model: Model,
    prefix: int,
    index: int,
    rows: Sequence[Row],
    temperature: float,
    on_text: Callable[[int, str], None] | None,
) -> Writer:
    row = rows[index]
    try:
        return Writer(
            model.vocabulary,
            row.constraint,
            sampler(temperature, row.seed),
            max_tokens=row.max_tokens,
            prompt=prefix + len(row.prompt),
            positions=model.positions,
            on_text=None if on_text is None else lambda piece: on_text(index, piece),
        )
    except BudgetError as error:
        raise BudgetError(f"{error}{_which(index, rows)}", error.minimum) from None
    except (DecodeError, GrammarError) as error:
        raise type(error)(f"{error}{_which(index, rows)}") from None


def _which(index: int, rows: Sequence[Row]) -> str:
    return f" (row {index})" if len(rows) > 1 else ""


def _check_prompt(model: Model, prompt: Sequence[int]) -> None:
    if not prompt:
        raise DecodeError("the prompt is empty: give at least one token")
    if not 0 <= min(prompt) <= max(prompt) < model.vocabulary.size:
        raise DecodeError(f"the prompt has ids outside 0..{model.vocabulary.size - 1}: wrong tokenizer?")


class _Batch:
    """The rows of one call, and the passes that they share."""

    def __init__(
        self,
        model: Model,
        prefix: Sequence[int],
        rows: Sequence[Row],
        writers: list[Writer],
        cache: PrefixCache | None,
        on_done: Callable[[int, Decoded], None] | None,
        width: int,
    ):
        self.model, self.rows, self.writers = model, rows, writers
        self.cache, self.on_done, self.width = cache, on_done, width
        # each row reads at least one token itself, since the logits after its prompt are wanted
        own = 0 if all(row.prompt for row in rows) else 1
        self.prefix, self.moved = list(prefix[: len(prefix) - own]), list(prefix[len(prefix) - own :])
        self.model_seconds = 0.0
        self.live = list(range(len(rows)))
        self.done: dict[int, Decoded] = {}
        self.lanes = [Lane([*self.moved, *row.prompt]) for row in rows]
        self.proposers: list[Propose] = []
        self.reader: Reader | None = None

    def advance(self) -> bool:
        """Write what can be written; whether there are rows that a pass has to go on with."""
        for index in list(self.live):
            self.writers[index].advance(self.lanes[index])
            if self.writers[index].reason is not None:
                self.finish(index)
        return bool(self.live)

    def stop(self) -> None:
        """End all rows by their closing paths."""
        for index in list(self.live):
            self.writers[index].stop()
            self.finish(index)

    def read(self) -> None:
        """One pass, or a few where the prompts of many rows are to be read first."""
        begun = time.perf_counter()
        reader = self.reader or self.open()
        opened = time.perf_counter()
        jobs = [self.job(index, reader) for index in self.live]
        drafted = time.perf_counter()
        while jobs:
            count = 1
            while count < len(jobs) and sum(len(job.tokens) for job in jobs[: count + 1]) <= PROMPT_WIDTH:
                count += 1
            reader.read(jobs[:count])
            del jobs[:count]
        self.model_seconds += time.perf_counter() - drafted + opened - begun

    def open(self) -> Reader:
        """Start reading: the prefix, if several rows share it."""
        self.reader = open_reader(self.model, self.prefix, self.cache, len(self.rows))
        for lane in self.lanes:
            lane.prompt = [*self.prefix[self.reader.held :], *lane.prompt]
        return self.reader

    def job(self, index: int, reader: Reader) -> Job:
        """What a row wants to be read next."""
        writer, lane = self.writers[index], self.lanes[index]
        drafts: tuple[Draft, ...] = ()
        share = self.width // len(self.live)
        if reader.drafts and share:
            begun = time.perf_counter()
            drafts = draft_tree(writer.output, self.proposer(index), share, writer.limit)
            writer.mask_seconds += time.perf_counter() - begun
        return Job(lane, lane.pending(writer.output.tokens), drafts)

    def proposer(self, index: int) -> Propose:
        """Guesses for a row, from its own prompt and output."""
        if not self.proposers:
            words = self.model.vocabulary
            shared = words.decode([*self.prefix, *self.moved])
            self.proposers = [proposer(shared + words.decode(row.prompt)) for row in self.rows]
        return self.proposers[index]

    def finish(self, index: int) -> None:
        """Take a row that has ended out of the batch."""
        self.live.remove(index)
        writer, lane, reader = self.writers[index], self.lanes[index], self.reader
        decoded = self.done[index] = writer.result(
            lane,
            prompt=len(self.prefix) + len(self.moved) + len(self.rows[index].prompt),
            cached=reader.cached if reader else 0,
            passes=reader.passes if reader else 0,
            model_seconds=self.model_seconds,
        )
        if reader is not None:
            if self.cache is not None and len(self.rows) == 1:
                reader.keep(self.cache, lane, writer.output.tokens)
            reader.retire(lane)
        if self.on_done is not None:
            self.on_done(index, decoded)

    def results(self) -> list[Decoded]:
        """The outputs of all rows, when none is live."""
        return [self.done[index] for index in range(len(self.rows))]
