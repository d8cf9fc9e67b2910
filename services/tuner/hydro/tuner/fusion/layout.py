"""How a tensor of one model lies when it stands for all lanes.

Legend: G lanes, N batch, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor
from torch.fx import Node


class Layout(Enum):
    """Where the lane axis is."""

    SHARED = "shared"
    """Nowhere: every lane has the same tensor [N, C, ...]."""
    LANES = "lanes"
    """First: [G, N, C, ...]."""
    PACKED = "packed"
    """In the channels: [N, G*C, ...]."""


@dataclass(slots=True, eq=False)
class Value:
    """A tensor of the traced model, as nodes of the grouped graph."""

    example: Tensor
    """One lane's tensor without data: shape, strides, type."""
    forms: dict[Layout, Node]
    """The same tensor in every layout that was computed so far; asking for one of them again costs nothing."""
    is_number: bool = False
    """A Python number of the traced model that differs among lanes: [G], float64."""

    @property
    def shape(self) -> tuple[int, ...]:
        """One lane's shape."""
        return tuple(self.example.shape)

    @property
    def ndim(self) -> int:
        """One lane's number of axes."""
        return self.example.ndim

    @property
    def is_shared(self) -> bool:
        """Whether all lanes have the same tensor."""
        return Layout.SHARED in self.forms

    @property
    def is_packed(self) -> bool:
        """Whether the packed form costs nothing."""
        return Layout.PACKED in self.forms


def channels_innermost(x: Tensor) -> Tensor:
    """Puts [N, C, H, W] on a CPU, and its gradient, into the memory format that torch has vector code for.

    Max pooling takes a thirtieth of the time in it, batch norm less than half; what follows keeps the format. Where two
    formats meet, in the gradient as well, elementwise ops are several times slower than a copy. In float64, which is
    run for exactness, the format stays that of the model alone: kernels of another format sum in another order, and
    20 steps of AdamW make 1e-9 of a last bit.
    """
    if x.ndim != 4 or x.device.type != "cpu" or x.dtype == torch.float64:
        return x
    innermost = _innermost(x)
    if innermost.requires_grad:
        innermost.register_hook(_innermost)  # type: ignore[no-untyped-call]
    return innermost


def _innermost(x: Tensor) -> Tensor:
    if x.shape[1] == 1:
        # In both formats at once, but the strides must say so: a convolution of such an image asks them which to give.
        return x.squeeze(1).contiguous().unsqueeze(-1).movedim(-1, 1)
    return x.contiguous(memory_format=torch.channels_last)
