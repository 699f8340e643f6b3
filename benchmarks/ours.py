"""flowdsl itself, in a comparison."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import decoding.decoder as decoder
from benchmarks.meter import Meter, metered
from benchmarks.teach import taught
from decoding import Decoded, Model
from flowdsl import Flow, FlowResult, Instance, generate_flow
from flowdsl.decompile import input_lines, outline_text
from flowdsl.scope import Scope
from flowdsl.specialise import is_asked


@dataclass
class Trace:
    """What `decode` and `decode_batch` were asked, and what they gave."""

    prompts: list[list[int]] = field(default_factory=list)
    outputs: list[list[Decoded]] = field(default_factory=list)


@contextmanager
def traced() -> Iterator[Trace]:
    """Note the calls meanwhile."""
    trace, inner = Trace(), decoder._decode

    def noted(model: Model, prefix: Sequence[int], *args: Any) -> list[Decoded]:
        trace.prompts.append(list(prefix))
        trace.outputs.append(inner(model, prefix, *args))
        return trace.outputs[-1]

    with mock.patch.object(decoder, "_decode", noted):
        yield trace


def run(requirement: str, instance: Instance, model: Model, flow: Flow | None) -> tuple[FlowResult, Meter, Trace]:
    """Generate a flow; with `flow`, that one."""
    if flow is None:
        with traced() as trace, metered(model.network) as meter:
            return generate_flow(requirement, instance, model), meter, trace
    with taught(model.vocabulary, stage_texts(flow, instance)), traced() as trace, metered(model.network) as meter:
        return generate_flow(requirement, instance, model), meter, trace


def stage_texts(flow: Flow, instance: Instance) -> list[str]:
    """What a model writes for a flow: the outline, then the inputs of the trigger and of each step that has any."""
    scope = Scope.of(flow, instance, Scope.of(flow, instance).item_tables)
    asked = [at for at in flow.owners if is_asked(scope, at)]
    inputs = ["".join(f"{line}\n" for line in input_lines(scope, at)) for at in asked]
    return [outline_text(flow, instance), *inputs]
