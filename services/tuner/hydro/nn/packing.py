"""Between a lane axis first and lanes in the channels.

Legend: G lanes, N batch, C channels.
"""

from __future__ import annotations

from torch import Tensor


def unpack(x: Tensor, lanes: int) -> Tensor:
    """[N, G*C, ...] to [G, N, C, ...], a view."""
    return x.view(x.shape[0], lanes, x.shape[1] // lanes, *x.shape[2:]).transpose(0, 1)


def pack(x: Tensor) -> Tensor:
    """[G, N, C, ...] to [N, G*C, ...]; a view where `x` is one that `unpack` gave."""
    return x.transpose(0, 1).flatten(1, 2)


def share(x: Tensor, lanes: int) -> Tensor:
    """[...] to [G, ...], a view without copies."""
    return x.expand(lanes, *x.shape)
