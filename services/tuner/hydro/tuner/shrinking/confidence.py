"""Intervals that hold the true mean in 95 of 100 cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

_STUDENT_T_95 = (
    12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131
)  # fmt: skip
"""Two-sided quantiles for 1, 2, ... degrees of freedom."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, and the interval that holds the true one."""

    mean: float
    low: float
    high: float

    def is_within(self, bound: float) -> bool:
        """Whether all of it is at most so far from zero."""
        return -bound <= self.low and self.high <= bound

    def is_outside(self, bound: float) -> bool:
        """Whether all of it is farther than that from zero, on one side."""
        return self.low > bound or self.high < -bound


def student_t_95(freedom: int) -> float:
    """The two-sided quantile; beyond fifteen degrees of freedom a little too wide."""
    return _STUDENT_T_95[min(freedom, len(_STUDENT_T_95)) - 1]


def mean_interval(values: Sequence[float]) -> Interval:
    """Student's t over independent values; one value alone tells no interval."""
    mean, count = fmean(values), len(values)
    if count < 2:
        return Interval(mean, -math.inf, math.inf)
    half = student_t_95(count - 1) * stdev(values) / math.sqrt(count)
    return Interval(mean, mean - half, mean + half)
