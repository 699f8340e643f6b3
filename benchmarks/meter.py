"""What a model is made to do: counted at its own `forward`, not by whoever calls it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class Meter:
    """Of one stretch of work: seconds, forward passes, tokens read in them, and seconds inside them."""

    seconds: float = 0.0
    passes: int = 0
    tokens: int = 0
    inside: float = 0.0


@contextmanager
def metered(network: Any) -> Iterator[Meter]:
    """Count what happens to `network` meanwhile."""
    meter = Meter()
    begun = [0.0]

    def before(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        meter.passes += 1
        meter.tokens += ids.numel()
        begun[0] = time.perf_counter()

    def after(module: Any, args: Any, output: Any) -> None:
        meter.inside += time.perf_counter() - begun[0]

    hooks = [network.register_forward_pre_hook(before, with_kwargs=True), network.register_forward_hook(after)]
    started = time.perf_counter()
    try:
        yield meter
    finally:
        meter.seconds = time.perf_counter() - started
        for hook in hooks:
            hook.remove()
