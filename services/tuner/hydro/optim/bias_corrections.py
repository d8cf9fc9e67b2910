"""What the bias of Adam's moments makes of a step, computed for many steps at once.

Legend: S steps, T parameters, G lanes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_AHEAD = 32
"""Steps whose corrections are computed at once."""


def as_torch(beta1: float, beta2: float, step: float) -> tuple[float, float]:
    """What torch divides the moments by."""
    return 1 - beta1**step, (1 - beta2**step) ** 0.5


def as_factors(beta1: float, beta2: float, step: float) -> tuple[float, float]:
    """What the step size and eps are multiplied with."""
    first, second = as_torch(beta1, beta2, step)
    return second / first, second


def corrections_ahead(counts: Tensor, correct: Callable[[float, float, float], tuple[float, float]]) -> Tensor:
    """Corrections [S, 2, T, G] of this step and the next ones, for `beta1`, `beta2` and steps [3, T, G].

    Powers in Python, as torch has them: a tensor's may differ in the last bit, and that by a lane's place.
    """
    kinds: dict[tuple[float, ...], int] = {}
    places = [
        [kinds.setdefault(kind, len(kinds)) for kind in zip(*lanes, strict=True)]
        for lanes in zip(*counts.tolist(), strict=True)
    ]
    values = [[correct(beta1, beta2, step + ahead) for beta1, beta2, step in kinds] for ahead in range(_AHEAD)]
    return torch.tensor(values, dtype=torch.float64).mT[..., torch.tensor(places)]
