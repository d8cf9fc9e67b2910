"""How a quantity goes with the width: an exponent and its confidence interval, over widths and seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

TOLERANCE = 0.15
"""Slopes within this of zero are flat."""

_STUDENT_T_95 = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Two-sided quantiles for 1, 2, ... degrees of freedom; beyond, the normal's."""


class Verdict(Enum):
    """What a layer's slope says."""

    PASS = "pass"
    WARN = "warn"
    """Changes shrink with the width: transfer is conservative, not unstable."""
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class LayerSlope:
    """How the change of a layer's output grows with the width: its exponent, with a 95 % interval."""

    layer: str
    slope: float
    half_width: float

    @property
    def verdict(self) -> Verdict:
        """Fails when the whole interval is above the tolerance, warns when it is below."""
        if self.slope - self.half_width > TOLERANCE:
            return Verdict.FAIL
        if self.slope + self.half_width < -TOLERANCE:
            return Verdict.WARN
        return Verdict.PASS

    def __str__(self) -> str:
        return f"{self.layer}: {self.slope:+.2f} +- {self.half_width:.2f} {self.verdict.value}"


def fit_slope(layer: str, widths: Sequence[float], changes: Sequence[Sequence[Mapping[str, float]]]) -> LayerSlope:
    """Least squares over all widths and seeds, each seed with a level of its own.

    Args:
        layer: Which of the quantities.
        widths: At least two.
        changes: Per width, per seed: quantities by layer.
    """
    x = [math.log2(width) for width in widths]
    middle = sum(x) / len(x)
    seeds = range(len(changes[0]))
    points = []
    for seed in seeds:
        y = [_log2(by_seed[seed][layer]) for by_seed in changes]
        level = sum(y) / len(y)
        points += [(one - middle, other - level) for one, other in zip(x, y, strict=True)]
    spread = sum(one * one for one, _ in points)
    slope = sum(one * other for one, other in points) / spread
    freedom = len(points) - len(seeds) - 1
    residual = sum((other - slope * one) ** 2 for one, other in points)
    quantile = _STUDENT_T_95[freedom - 1] if freedom <= len(_STUDENT_T_95) else 2.0
    return LayerSlope(layer, slope, quantile * math.sqrt(residual / freedom / spread))


def _log2(change: float) -> float:
    """Zero stays apart from the smallest change by a finite distance."""
    return math.log2(max(change, 1e-30))
