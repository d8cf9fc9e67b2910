"""Random ops over lanes: every lane draws from its own stream what plain PyTorch draws for that model alone.

Legend: G lanes, N batch, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

Streams = Sequence[torch.Generator] | None
"""One random stream per lane; None draws from the default one, lane after lane."""

_ALPHA = 1.7580993408473766


def bernoulli(
    shape: Sequence[int],
    lanes: int,
    p: float | Tensor,
    generators: Streams,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Draws ones with each lane's probability, zeros else, as `Tensor.bernoulli_` does.

    Args:
        shape: One lane's.
        lanes: How many there are.
        p: One probability, or one per lane [G].
        generators: The lanes' random streams.
        dtype: Of the result.
        device: Of the result.

    Shape: gives [G, *shape].
    """
    drawn = torch.empty(lanes, *shape, dtype=dtype, device=device)
    for row, probability, stream in _rows(drawn, p, generators):
        row.bernoulli_(probability, generator=stream)
    return drawn


def uniform(
    shape: Sequence[int],
    lanes: int,
    low: float,
    high: float,
    generators: Streams,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Draws numbers in [low, high), as torch.rand does. Shape: gives [G, *shape]."""
    drawn = torch.empty(lanes, *shape, dtype=dtype, device=device)
    for row, _, stream in _rows(drawn, 0, generators):
        row.uniform_(low, high, generator=stream)
    return drawn


def normal(
    shape: Sequence[int],
    lanes: int,
    mean: float,
    std: float,
    generators: Streams,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """Draws normally distributed numbers, as torch.randn does. Shape: gives [G, *shape]."""
    drawn = torch.empty(lanes, *shape, dtype=dtype, device=device)
    for row, _, stream in _rows(drawn, 0, generators):
        row.normal_(mean, std, generator=stream)
    return drawn


def feature_dropout(x: Tensor, p: float | Tensor, generators: Streams) -> Tensor:
    """Drops whole channels. Shape: `x` [G, N, C, ...]."""
    noise = x.new_empty(*x.shape[:3], *(1,) * (x.ndim - 3))
    for row, probability, stream in _rows(noise, p, generators):
        if 0 < probability < 1:
            row.bernoulli_(1 - probability, generator=stream).div_(1 - probability)
        else:
            row.fill_(1 - probability)
    return x * noise


def alpha_dropout(x: Tensor, p: float | Tensor, generators: Streams, *, whole_channels: bool) -> Tensor:
    """Sets elements, or channels, to the negative saturation of SELU, and keeps mean and variance.

    Shape: `x` [G, ...]; [G, N, C, ...] for whole channels. Source: aten/src/ATen/native/Dropout.cpp.
    """
    scale = torch.empty(*x.shape[:3], *(1,) * (x.ndim - 3)) if whole_channels else torch.empty(x.shape)
    scale = scale.to(x)
    shift = torch.zeros_like(scale)
    for row, offset, (_, probability, stream) in zip(scale, shift, _rows(scale, p, generators), strict=True):
        if 0 < probability < 1:
            gain = 1 / math.sqrt((_ALPHA**2 * probability + 1) * (1 - probability))
            row.bernoulli_(1 - probability, generator=stream)
            offset.copy_(row).add_(-1).mul_(_ALPHA * gain).add_(_ALPHA * gain * probability)
            row.mul_(gain)
        else:
            row.fill_(1 - probability)
    return x * scale + shift


def _rows(
    drawn: Tensor, p: float | Tensor, generators: Streams
) -> Iterable[tuple[Tensor, float, torch.Generator | None]]:
    probabilities = p.tolist() if isinstance(p, Tensor) else [p] * len(drawn)
    streams = generators if generators is not None else [None] * len(drawn)
    return zip(drawn.unbind(), probabilities, streams, strict=True)
