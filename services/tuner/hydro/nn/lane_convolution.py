"""Convolutions over lanes, in which a lane's bits depend on that lane alone.

Legend: G lanes, N batch, C channels. A *packed* tensor is [N, G*C, ...].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hydro.nn.packing import leading_channels


def convolution(
    function: Callable[..., Tensor],
    x: Tensor,
    filters: Tensor,
    bias: Tensor | None,
    lanes: int,
    groups: int,
    **geometry: Any,
) -> Tensor:
    """Convolves each lane's channels with that lane's filters: each lane is a group, or several.

    On a CPU one group has kernels of its own, which add up in another order than those of two groups or more (oneDNN
    3.12: a lane's gradients would change when its last neighbour leaves). So a lane alone gets an empty neighbour. In
    float64 torch itself loops over groups, and on a GPU no order is promised.

    Args:
        function: One of torch.nn.functional, or its ATen op.
        x: Packed.
        filters: The lanes' filters one after the other: [G * the first axis of a lane's, ...].
        bias: [G * O].
        lanes: G.
        groups: Those within a lane.
        **geometry: Stride, padding and so on, by name.

    Shape: gives packed.
    """
    if lanes > 1 or groups > 1 or x.device.type != "cpu" or x.dtype is torch.float64:
        return function(x, filters, bias, groups=lanes * groups, **geometry)
    padded = (None if tensor is None else _beside_nothing(tensor, axis) for tensor, axis in ((filters, 0), (bias, 0)))
    both = function(_beside_nothing(x, 1), *padded, groups=2, **geometry)
    return leading_channels(both, both.shape[1] // 2)


_VECTOR = 16
"""Numbers in the widest vector of a CPU, float32."""


def convolution_shared(
    function: Callable[..., Tensor], x: Tensor, filters: Tensor, bias: Tensor | None, **geometry: Any
) -> Tensor:
    """Convolves an image that lanes share with the filters of all of them: one wide convolution.

    On a CPU what is left over from whole vectors of output channels has kernels of its own, which add up in another
    order. So empty filters fill the last vector, and the bias stands aside.

    Shape: `x` [N, C, ...], `filters` [G*O, C, ...]; gives packed [N, G*O, ...].
    """
    if x.device.type != "cpu":
        return function(x, filters, bias, **geometry)
    output = function(x, _with_whole_vectors(filters), None, **geometry)
    if bias is not None:
        output = _apply_bias(output, _with_whole_vectors(bias))
    return leading_channels(output, len(filters))


def _with_whole_vectors(x: Tensor) -> Tensor:
    missing = -len(x) % _VECTOR
    return torch.cat([x, x.new_zeros(missing, *x.shape[1:])]) if missing else x


class _Bias(torch.autograd.Function):
    """Adds a bias whose gradient is a matrix product: the convolution's own sum, and torch's, depend on G."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor) -> Tensor:
        return x + bias.view(-1, *(1,) * (x.ndim - 2))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        rows = gradient.movedim(1, -1).flatten(0, -2)
        return gradient, (rows.new_ones(1, len(rows)) @ rows)[0]


_apply_bias: Callable[..., Tensor] = _Bias.apply


def _beside_nothing(x: Tensor, axis: int) -> Tensor:
    return torch.cat([x, torch.zeros_like(x)], axis)
