"""Means with bootstrap intervals.

>>> print(Interval.of([0.0, 1.0] * 50))
0.500 [0.400, 0.600]
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_DRAWS, _SEED = 2000, 0


@dataclass(frozen=True)
class Interval:
    """A mean, and between which values 95 % of the means of resampled cases lie (the percentile bootstrap).

    Attributes:
        cases: how many values.
    """

    mean: float
    low: float
    high: float
    cases: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        """The same values always give the same interval; of no value, all is NaN."""
        if not values:
            nothing = float("nan")
            return cls(nothing, nothing, nothing, 0)
        data = np.asarray(values, dtype=float)
        draws = np.random.default_rng(_SEED).integers(len(data), size=(_DRAWS, len(data)))
        low, high = np.percentile(data[draws].mean(axis=1), [2.5, 97.5])
        return cls(float(data.mean()), float(low), float(high), len(data))

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]" if self.cases else "-"


def paired(first: Sequence[float], second: Sequence[float]) -> Interval:
    """The mean of `first` minus `second`, case by case: both were measured on the same cases.

    >>> paired([0.5, 1.0], [0.0, 0.5]).mean
    0.5
    """
    return Interval.of([a - b for a, b in zip(first, second, strict=True)])
