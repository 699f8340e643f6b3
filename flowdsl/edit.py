"""Changing a flow by an instruction in plain words."""

from typing import Any

from flowdsl.generate import generate_flow
from flowdsl.instance import Instance
from flowdsl.model import Flow
from flowdsl.result import FlowResult


def edit_flow(flow: Flow, instruction: str, instance: Instance | None = None, **options: Any) -> FlowResult:
    """The flow after an instruction: `generate_flow` with `prior`; `.diff` of the result says what changed.

    Args:
        options: those of `generate_flow`.
    """
    return generate_flow(instruction, instance, prior=flow, **options)
