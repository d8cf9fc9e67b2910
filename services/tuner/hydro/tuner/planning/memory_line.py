"""Memory at fusion counts that nobody measured: a line through the measured ones, and what it may be off by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from hydro.tuner.training.lane import MemoryMiss

_STUDENT_95 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812)
"""95 % quantile of Student's t with 1 to 10 degrees of freedom; source: NIST handbook, 1.3.6.7.2."""

_NORMAL_95 = 1.645

_FEW_POINTS_SHARE = 0.10
"""With less than three points there is no residual: the part that grows with the lanes is trusted to so much."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """What a bundle is expected to hold, and what it exceeds once in twenty times."""

    memory_bytes: int
    upper_bytes: int


def predict_memory(
    measured: Sequence[tuple[int, int]], lanes: int, misses: Sequence[MemoryMiss] = ()
) -> MemoryEstimate:
    """Predicts the memory of a bundle.

    Least squares of `a + b lanes`, and the upper end of its one-sided 95 % prediction interval; never less than what a
    bundle as large has been measured to hold, or held when it ran out of memory.

    Args:
        measured: Lanes and bytes of the bundles measured, one at least.
        lanes: Of the bundle in question.
        misses: What is known to have held more, or to have failed.

    Raises:
        ValueError: Nothing was measured.
    """
    if not measured:
        raise ValueError("no bundle's memory was measured: nothing can be predicted from that")
    expected, off = _line(measured, lanes)
    known = [held for count, held in measured if count <= lanes]
    failed = [miss.memory_bytes * lanes // miss.lanes for miss in misses if miss.lanes <= lanes]
    floor = max([0, *known, *failed])
    return MemoryEstimate(int(max(expected, floor)), int(max(expected + off, floor)))


def _line(measured: Sequence[tuple[int, int]], lanes: int) -> tuple[float, float]:
    """The line at these lanes, and the half width of its interval."""
    count = len(measured)
    mean_x, mean_y = (sum(pair[axis] for pair in measured) / count for axis in (0, 1))
    spread = sum((x - mean_x) ** 2 for x, _ in measured)
    if spread == 0:
        # One point: no lane costs more than the whole bundle shared evenly.
        return mean_y * max(1.0, lanes / mean_x), _FEW_POINTS_SHARE * mean_y * max(0.0, lanes / mean_x - 1)
    slope = max(0.0, sum((x - mean_x) * (y - mean_y) for x, y in measured) / spread)
    expected = mean_y + slope * (lanes - mean_x)
    if count == 2:
        return expected, _FEW_POINTS_SHARE * slope * abs(lanes - mean_x)
    residual = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in measured) / (count - 2)
    quantile = _STUDENT_95[count - 3] if count - 3 < len(_STUDENT_95) else _NORMAL_95
    return expected, quantile * sqrt(residual * (1 + 1 / count + (lanes - mean_x) ** 2 / spread))
