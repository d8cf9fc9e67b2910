"""Between a lane axis first and lanes in the channels.

Legend: G lanes, N batch, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as plain


def unpack(x: Tensor, lanes: int) -> Tensor:
    """[N, G*C, ...] to [G, N, C, ...], a view."""
    return x.view(x.shape[0], lanes, x.shape[1] // lanes, *x.shape[2:]).transpose(0, 1)


def pack(x: Tensor) -> Tensor:
    """[G, N, C, ...] to [N, G*C, ...]; a view where `x` is one that `unpack` gave."""
    return x.transpose(0, 1).flatten(1, 2)


def share(x: Tensor, lanes: int) -> Tensor:
    """[...] to [G, ...], a view without copies."""
    return x.expand(lanes, *x.shape)


class _LeadingChannels(torch.autograd.Function):
    """A slice whose gradient keeps the memory format: autograd's own fills zeros in the plain one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, channels: int) -> Tensor:
        ctx.missing = x.shape[1] - channels
        innermost = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
        form = torch.channels_last if innermost else torch.contiguous_format
        return x[:, :channels].clone(memory_format=form)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return with_empty_channels(gradient, ctx.missing), None


_apply_leading: Callable[..., Tensor] = _LeadingChannels.apply


def leading_channels(x: Tensor, channels: int) -> Tensor:
    """Gives the first channels of [N, C, ...], no view, in the memory format that `x` has."""
    return x if channels == x.shape[1] else _apply_leading(x, channels)


def with_empty_channels(x: Tensor, count: int) -> Tensor:
    """[N, C, ...] to [N, C + count, ...], zeros last, in the memory format that `x` has."""
    return plain.pad(x, (0, 0) * (x.ndim - 2) + (0, count))
