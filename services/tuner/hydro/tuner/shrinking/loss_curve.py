"""Losses by learning rate, and where they are lowest.

The lowest point of a grid is as noisy as the losses are, so a parabola of log loss over log2 lr is fitted around it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

LossCurve = Mapping[float, float]
"""Loss by log2 of the learning rate; infinite where the training diverged."""

REACH_OCTAVES = 1.0
"""How far on each side of the lowest point the parabola is fitted."""

_HIGHEST = 1.5
"""Points with a loss of more than this times the lowest are left out: near divergence a curve is no parabola."""


def lowest(curve: LossCurve) -> float:
    """The grid's best log2 lr."""
    return min(curve, key=lambda each: curve[each])


@dataclass(frozen=True, slots=True)
class Parabola:
    """Log loss over log2 lr, around its lowest point."""

    optimum: float
    """The best log2 lr."""
    curvature: float
    """Log loss per square octave, above zero."""

    def excess(self, rate: float) -> float:
        """The loss at a log2 lr over the lowest one, less one."""
        return math.expm1(self.curvature * (rate - self.optimum) ** 2)


def fit_parabola(curve: LossCurve, around: float | None = None) -> Parabola | None:
    """The parabola through the points near a curve's lowest one; None where they have no lowest point between them.

    Args:
        curve: At least one point.
        around: Where to fit; None: around the curve's own lowest point.
    """
    points = {rate: math.log(loss) for rate, loss in _near(curve, around).items()}
    if len(points) < 3:
        return None
    rates = list(points)
    middle = sum(rates) / len(rates)
    x = torch.tensor([rate - middle for rate in rates], dtype=torch.float64)
    y = torch.tensor(list(points.values()), dtype=torch.float64)
    fitted: list[float] = torch.linalg.lstsq(torch.stack([x**0, x, x**2], 1), y[:, None]).solution[:, 0].tolist()
    _, slope, curvature = fitted
    if curvature <= 0:
        return None
    found = Parabola(middle - slope / (2 * curvature), curvature)
    return found if rates[0] <= found.optimum <= rates[-1] else None


def fitted_optimum(curve: LossCurve, around: float | None = None) -> float:
    """The best log2 lr by a parabola; the grid's own where there is none. See `fit_parabola`."""
    found = fit_parabola(curve, around)
    return found.optimum if found else lowest(_near(curve, around))


def _near(curve: LossCurve, around: float | None) -> dict[float, float]:
    """The points to fit, rising: near the middle, and not near divergence."""
    middle = lowest(curve) if around is None else around
    near = {rate: loss for rate, loss in sorted(curve.items()) if abs(rate - middle) <= REACH_OCTAVES}
    highest = min(near.values()) * _HIGHEST
    return {rate: loss for rate, loss in near.items() if 0 < loss <= highest and math.isfinite(loss)} or near
