"""Changing a flow by an instruction in plain words."""

from difflib import unified_diff
from typing import Any

from flowdsl.generate import generate_flow
from flowdsl.instance import Instance
from flowdsl.model import Flow
from flowdsl.result import FlowResult


def edit_flow(flow: Flow, instruction: str, instance: Instance | None = None, **options: Any) -> FlowResult:
    """The flow after an instruction: `generate_flow` with `prior`.

    Args:
        options: those of `generate_flow`.
    """
    return generate_flow(instruction, instance, prior=flow, **options)


def diff(before: str, after: str) -> str:
    """What changed between two DSL texts, as a unified diff.

    >>> print(diff("a\\nb\\n", "a\\nc\\n"))
    --- before
    +++ after
    @@ -1,2 +1,2 @@
     a
    -b
    +c
    <BLANKLINE>
    """
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    return "".join(unified_diff(old, new, "before", "after"))
