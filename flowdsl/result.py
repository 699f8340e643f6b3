"""What `generate_flow` gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from decoding import Decoded
from flowdsl.answers import Assumption, Uncertain
from flowdsl.changes import Change
from flowdsl.model import PLACEHOLDER, Component, Flow


@dataclass(frozen=True)
class FlowStats:
    """What a flow took, over both stages. Tokens are those of the model; times are seconds.

    `forced_tokens` are part of `output_tokens`; `passes` are forward passes one after the other, `row_passes`
    counts each as often as it read for a step; of the `drafted_tokens` (guessed and read with a pass) the
    `accepted_tokens` came out.
    `finish_reason` is "complete", "budget" or "stop" (the deadline), whichever was met first.
    """

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    output_tokens: int = 0
    forced_tokens: int = 0
    passes: int = 0
    row_passes: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    mask_seconds: float = 0.0
    model_seconds: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)
    finish_reason: str = "complete"

    def plus(self, *batch: Decoded) -> "FlowStats":
        """With one more output, or those of one batch."""
        stats = [decoded.stats for decoded in batch]
        reasons = [self.finish_reason, *(one.finish_reason for one in stats)]
        return FlowStats(
            self.prompt_tokens + sum(one.prompt_tokens for one in stats),
            self.cached_prompt_tokens + sum(one.cached_prompt_tokens for one in stats),
            self.output_tokens + sum(one.output_tokens for one in stats),
            self.forced_tokens + sum(one.forced_tokens for one in stats),
            self.passes + max((one.passes for one in stats), default=0),
            self.row_passes + sum(one.row_passes for one in stats),
            self.drafted_tokens + sum(one.drafted_tokens for one in stats),
            self.accepted_tokens + sum(one.accepted_tokens for one in stats),
            self.mask_seconds + sum(one.mask_seconds for one in stats),
            self.model_seconds + max((one.model_seconds for one in stats), default=0.0),
            self.seconds,
            next((reason for reason in reasons if reason != "complete"), "complete"),
        )


@dataclass(frozen=True)
class FlowResult:
    """A generated flow with what a user should know of it.

    Attributes:
        flow: valid for its instance.
        dsl: its canonical text.
        uncovered: clauses of the requirement that no step implements.
        assumptions: inputs that the requirement did not state.
        uncertain: choices with a small margin, each with its best alternative.
        warnings: such as a language the model was not made for.
        stats: what it took.
        alternatives: with ``n`` above 1, further distinct flows.
        diff: of an edit, the steps that were added, removed or changed.
    """

    flow: Flow
    dsl: str
    uncovered: tuple[str, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    uncertain: tuple[Uncertain, ...] = ()
    warnings: tuple[str, ...] = ()
    stats: FlowStats = FlowStats()
    alternatives: tuple["FlowResult", ...] = ()
    diff: tuple[Change, ...] = ()

    @property
    def placeholders(self) -> tuple[Component, ...]:
        """The steps that are left open, since the instance has nothing for their annotations."""
        return tuple(c for c in self.flow.components if c.definition == PLACEHOLDER and not c.is_logic)

    def to_json(self) -> dict[str, Any]:
        """The flow JSON."""
        return self.flow.to_json()
