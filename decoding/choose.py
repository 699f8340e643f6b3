"""Choosing a token out of logits, under a mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from decoding.errors import DecodeError
from decoding.lane import Logits
from decoding.output import Bits
from decoding.result import Choice

#: Picks an index out of the allowed logits.
Sample = Callable[[Logits], int]


def choose(
    row: Logits, bits: Bits, sample: Sample, decode_ids: Callable[[Sequence[int]], str], position: int
) -> tuple[Choice, int]:
    """One decision: what was chosen among the tokens that `bits` allows, and its id.

    Raises:
        DecodeError: all of them have the probability 0.
    """
    # numpy, since torch spreads vectors of this size over threads, which costs milliseconds on busy cores
    ids = np.flatnonzero(bits)
    allowed = row[ids]
    best = int(allowed.argmax())
    top = float(allowed[best])
    if top == -math.inf:
        raise DecodeError("the model gives every token that the grammar allows the probability 0")
    at = sample(allowed)
    token = int(ids[at])
    peak = row.max()
    among = float(np.exp(allowed - top).sum(dtype=np.float64))
    kept = among * math.exp(top - peak) / float(np.exp(row - peak).sum(dtype=np.float64))
    logprob = float(allowed[at]) - top - math.log(among)
    allowed[best] = -math.inf
    second = int(allowed.argmax())
    margin = top - float(allowed[second])
    runner_up = "" if margin == math.inf else decode_ids([int(ids[second])])
    removed = min(1.0, max(0.0, 1.0 - kept))
    return Choice(position, decode_ids([token]), margin, runner_up, removed, logprob), token


def sampler(temperature: float, seed: int | None) -> Sample:
    """Greedy at temperature 0, else sampling from the softmax; repeatable with a seed.

    Raises:
        ValueError: the temperature is negative or no number.
    """
    if not temperature >= 0:
        raise ValueError("temperature must not be negative")
    if temperature == 0:
        return lambda allowed: int(allowed.argmax())
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)

    def sample(allowed: Logits) -> int:
        shares = np.exp((allowed.astype(np.float64) - allowed.max()) / temperature).cumsum()
        point = torch.rand((), generator=generator, dtype=torch.float64).item() * shares[-1]
        return min(int(np.searchsorted(shares, point, side="right")), len(shares) - 1)

    return sample
