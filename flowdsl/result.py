"""What `generate_flow` gives back."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from decoding import Decoded
from flowdsl.answers import Assumption, Uncertain
from flowdsl.model import Flow


@dataclass(frozen=True)
class FlowStats:
    """What a flow took, over both stages. Tokens are those of the model; times are seconds.

    `forced_tokens` are part of `output_tokens`; `passes` are forward passes after the prompts;
    `finish_reason` is "complete", "budget" or "stop" (the deadline), whichever was met first.
    """

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    output_tokens: int = 0
    forced_tokens: int = 0
    passes: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    mask_seconds: float = 0.0
    model_seconds: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)
    finish_reason: str = "complete"

    def plus(self, decoded: Decoded) -> "FlowStats":
        """With one more output."""
        stats = decoded.stats
        return FlowStats(
            self.prompt_tokens + stats.prompt_tokens,
            self.cached_prompt_tokens + stats.cached_prompt_tokens,
            self.output_tokens + stats.output_tokens,
            self.forced_tokens + stats.forced_tokens,
            self.passes + stats.passes,
            self.drafted_tokens,
            self.accepted_tokens,
            self.mask_seconds + stats.mask_seconds,
            self.model_seconds + stats.model_seconds,
            self.seconds,
            stats.finish_reason if self.finish_reason == "complete" else self.finish_reason,
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
    """

    flow: Flow
    dsl: str
    uncovered: tuple[str, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    uncertain: tuple[Uncertain, ...] = ()
    warnings: tuple[str, ...] = ()
    stats: FlowStats = FlowStats()
    alternatives: tuple["FlowResult", ...] = ()
    prior: Flow | None = None

    def to_json(self) -> dict[str, Any]:
        """The flow JSON."""
        return self.flow.to_json()
