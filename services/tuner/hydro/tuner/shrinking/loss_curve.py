"""Losses by learning rate, and where they are lowest.

The lowest point of a grid is as noisy as the losses are, so a parabola of log loss over log2 lr is fitted around it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

LossCurve = Mapping[float, float]
"""Loss by log2 of the learning rate; infinite where the training diverged."""

REACH_OCTAVES = 1.0
"""How far on each side of the lowest point the parabola is fitted."""

_HIGHEST = math.e
"""Points with a loss of more than this times the lowest are left out: near divergence a curve is no parabola."""


def lowest(curve: LossCurve) -> float:
    """The grid's best log2 lr."""
    return min(curve, key=lambda each: curve[each])


def fitted_optimum(curve: LossCurve, around: float | None = None) -> float:
    """The best log2 lr by a parabola; never outside of the points that it is fitted to.

    Args:
        curve: At least one point.
        around: Where to fit; None: around the curve's own lowest point.
    """
    middle = lowest(curve) if around is None else around
    near = {each: loss for each, loss in sorted(curve.items()) if abs(each - middle) <= REACH_OCTAVES}
    least = min(near.values())
    points = {each: math.log(loss) for each, loss in near.items() if loss <= least * _HIGHEST and math.isfinite(loss)}
    if len(points) < 3 or not least > 0:
        return lowest(near)
    x = torch.tensor([each - middle for each in points], dtype=torch.float64)
    y = torch.tensor(list(points.values()), dtype=torch.float64)
    fitted: list[float] = torch.linalg.lstsq(torch.stack([x**0, x, x**2], 1), y[:, None]).solution[:, 0].tolist()
    _, slope, curvature = fitted
    if curvature <= 0:
        return lowest(near)
    return middle + min(max(-slope / (2 * curvature), float(x[0])), float(x[-1]))
