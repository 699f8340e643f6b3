"""How much Python a call runs: a measure of time that does not depend on the machine or on what else it does."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def lines_run(call: Callable[[], object]) -> int:
    """The lines that are run until the call returns, those of a comprehension once for each item.

    What one operation of C does (a search in a list, a regular expression) counts as the line it is in.
    """
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count
