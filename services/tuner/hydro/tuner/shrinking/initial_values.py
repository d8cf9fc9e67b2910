"""Fresh values for the surrogate, after the target's own: never a slice of them, whose scale would be the target's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

_UNIFORM_REACH = math.sqrt(3)
"""The largest value of a uniform distribution over its standard deviation."""


class Distribution(Enum):
    """Where a tensor's initial values come from."""

    CONSTANT = "constant"
    NORMAL = "normal"
    UNIFORM = "uniform"
    KEPT = "kept"
    """The target's own values: tables and masks."""


@dataclass(frozen=True, slots=True)
class InitialValues:
    """The target's initial values of one tensor, as measured."""

    distribution: Distribution
    mean: float = 0.0
    std: float = 0.0

    def draw(self, like: Tensor, std_factor: float, generator: torch.Generator) -> Tensor:
        """New values of the shape and kind of `like`, on the CPU.

        Raises:
            ValueError: the values are kept, not drawn.
        """
        values = torch.empty(like.shape, dtype=like.dtype)
        std = self.std * std_factor
        match self.distribution:
            case Distribution.CONSTANT:
                return values.fill_(self.mean)
            case Distribution.NORMAL:
                return values.normal_(self.mean, std, generator=generator)
            case Distribution.UNIFORM:
                reach = std * _UNIFORM_REACH
                return values.uniform_(self.mean - reach, self.mean + reach, generator=generator)
            case Distribution.KEPT:
                raise ValueError("kept values are copied from the target, not drawn")


def measure(values: Tensor, *, is_parameter: bool) -> InitialValues:
    """What distribution a tensor's values come from."""
    flat = values.detach().to("cpu", torch.float64).flatten()
    if flat.numel() == 0:
        return InitialValues(Distribution.KEPT)
    if bool((flat == flat[0]).all()):
        return InitialValues(Distribution.CONSTANT, mean=float(flat[0]))
    if not is_parameter or not values.is_floating_point():
        return InitialValues(Distribution.KEPT)
    mean, std = float(flat.mean()), float(flat.std())
    if abs(mean) < 4 * std / math.sqrt(flat.numel()):
        mean = 0.0
    is_uniform = float((flat - mean).abs().max()) <= 1.05 * _UNIFORM_REACH * std
    return InitialValues(Distribution.UNIFORM if is_uniform else Distribution.NORMAL, mean, std)


def resampled(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A smaller table from a larger one: evenly spaced entries along each axis, in pairs where both sizes are even.

    In pairs, since tables of sines and cosines alternate them.
    """
    for axis, size in enumerate(shape):
        if size != values.shape[axis]:
            values = values.index_select(axis, _spaced(values.shape[axis], size))
    return values.clone()


def _spaced(size: int, wanted: int) -> Tensor:
    block = 2 if size % 2 == 0 and wanted % 2 == 0 else 1
    starts = torch.arange(wanted // block) * (size // block) // (wanted // block) * block
    return (starts[:, None] + torch.arange(block)).flatten()
