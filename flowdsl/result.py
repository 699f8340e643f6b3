"""What `generate_flow` gives back."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from decoding import Decoded
from flowdsl.answers import Assumption, Decision, Uncertain
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
class MaskedMass:
    """The probability mass that the grammar took away from the model, over all its decisions; 0 if there was none.

    Near 0 the model wrote what it would have written anyway; near 1 it would nearly always have written
    something else.
    """

    mean: float
    max: float


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
        alternatives: with ``n`` above 1, further distinct flows, the most probable first.
        diff: of an edit, the steps that were added, removed or changed.
        decisions: what the model chose, token by token: of the outline, then of the inputs.
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
    decisions: tuple[Decision, ...] = field(default=(), repr=False)

    @property
    def logprob(self) -> float:
        """Log-probability (nats) of the tokens that were chosen, under the masked distribution at temperature 1.

        Forced tokens have probability 1 there. It is that of this way to write the flow: others, with
        other tokens or inputs in words that mean the same, are not added. Inputs that an edit keeps count nothing.
        """
        return math.fsum(decision.logprob for decision in self.decisions)

    @property
    def masked_mass(self) -> MaskedMass:
        """How much of what the model would have written the grammar did not allow."""
        removed = [decision.removed for decision in self.decisions]
        return MaskedMass(math.fsum(removed) / len(removed), max(removed)) if removed else MaskedMass(0.0, 0.0)

    @property
    def confidence(self) -> Mapping[int | str, float]:
        """How sure the model was of each step (by order) and of the "trigger", 0 to 1.

        The geometric mean of the probabilities of the tokens chosen in it, in its outline line and its inputs
        (exp of the mean of their `Decision.logprob`): it does not fall with length. 1 where nothing was chosen.
        """
        owners = ["trigger"] if self.flow.trigger is not None else []
        by_owner: dict[int | str, list[float]] = {where: [] for where in owners}
        by_owner |= {component.order: [] for component in self.flow.components}
        for decision in self.decisions:
            by_owner.setdefault(decision.where, []).append(decision.logprob)
        return {where: math.exp(math.fsum(some) / len(some)) if some else 1.0 for where, some in by_owner.items()}

    @property
    def placeholders(self) -> tuple[Component, ...]:
        """The steps that are left open, since the instance has nothing for their annotations."""
        return tuple(c for c in self.flow.components if c.definition == PLACEHOLDER and not c.is_logic)

    def to_json(self) -> dict[str, Any]:
        """The flow JSON."""
        return self.flow.to_json()
