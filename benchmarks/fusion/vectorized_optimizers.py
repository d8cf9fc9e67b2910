"""SGD and AdamW over stacked tensors, as a user of torch.func would write them: by foreach, with a rate per model.

Legend: G lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

MOMENTUM = 0.9
BETAS = (0.9, 0.999)
EPS, WEIGHT_DECAY = 1e-8, 1e-2


class VectorizedOptimizer(Protocol):
    """Steps parameters [G, ...]."""

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Updates the parameters in place."""


def vectorized_optimizer(name: str, parameters: Sequence[Tensor], rates_G: Tensor) -> VectorizedOptimizer:
    """Gives the optimizer of that name."""
    shaped = [rates_G.view(-1, *(1,) * (parameter.ndim - 1)) for parameter in parameters]
    return _SGD(parameters, shaped) if name == "SGD" else _AdamW(parameters, shaped)


class _SGD:
    def __init__(self, parameters: Sequence[Tensor], rates: Sequence[Tensor]) -> None:
        self._parameters = list(parameters)
        self._descents = [-rate for rate in rates]
        self._buffers = [torch.zeros_like(parameter) for parameter in parameters]

    def step(self, gradients: Sequence[Tensor]) -> None:
        torch._foreach_mul_(self._buffers, MOMENTUM)
        torch._foreach_add_(self._buffers, list(gradients))
        torch._foreach_addcmul_(self._parameters, self._buffers, self._descents)


class _AdamW:
    def __init__(self, parameters: Sequence[Tensor], rates: Sequence[Tensor]) -> None:
        self._parameters = list(parameters)
        self._rates = list(rates)
        self._decays = [1 - WEIGHT_DECAY * rate for rate in rates]
        self._first = [torch.zeros_like(parameter) for parameter in parameters]
        self._second = [torch.zeros_like(parameter) for parameter in parameters]
        self._steps = 0

    def step(self, gradients: Sequence[Tensor]) -> None:
        self._steps += 1
        first_correction, second_correction = (1 - beta**self._steps for beta in BETAS)
        torch._foreach_mul_(self._parameters, self._decays)
        torch._foreach_lerp_(self._first, list(gradients), 1 - BETAS[0])
        torch._foreach_mul_(self._second, BETAS[1])
        torch._foreach_addcmul_(self._second, list(gradients), list(gradients), 1 - BETAS[1])
        scales = torch._foreach_sqrt(self._second)
        torch._foreach_div_(scales, second_correction**0.5)
        torch._foreach_add_(scales, EPS)
        directions = torch._foreach_div(self._first, scales)
        rates = torch._foreach_div(self._rates, -first_correction)
        torch._foreach_addcmul_(self._parameters, directions, list(rates))
