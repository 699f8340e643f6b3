"""What decoding gives back: the text, what the model decided in it, and what it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Reason = Literal["complete", "budget", "stop"]


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
        logprob: log-probability of the chosen token among the allowed ones, at temperature 1 (nats).
    """

    position: int
    text: str
    margin: float
    second: str
    removed: float
    logprob: float = 0.0


@dataclass(frozen=True)
class Stats:
    """What an output took. Counts are tokens, times are seconds.

    `forced_tokens` and `closing_tokens` (written to end within the budget) are part of `output_tokens`.
    `mask_seconds` is the time of the row's grammar, decisions and drafts, `model_seconds` that of the passes
    run until it ended.
    `finish_reason` is "complete" (the model ended it), "budget", or "stop".
    `passes` are the forward passes run until this output ended, `row_passes` those of them that read
    tokens of it: the same unless it was a row of a batch. The largest `passes` of a batch is that of the batch.
    `drafted_tokens` were read before they were decided, `accepted_tokens` of them came out.
    """

    prompt_tokens: int
    cached_prompt_tokens: int
    output_tokens: int
    forced_tokens: int
    closing_tokens: int
    passes: int
    mask_seconds: float
    model_seconds: float
    finish_reason: Reason
    row_passes: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


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

    @property
    def logprob(self) -> float:
        """Log-probability of the decisions under the masked distribution at temperature 1 (nats).

        What is forced has probability 1 there, and what was written to end within a budget was not decided.
        """
        return sum(choice.logprob for choice in self.choices)
