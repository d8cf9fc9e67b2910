"""Look-ups over lanes.

Legend: G lanes, V entries, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as plain


class _Embedding(torch.autograd.Function):
    """Rows of stacked tables, whose gradient skips each table's padding row, as torch's does for one table."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight_GVD: Tensor, padding_index: int, by_frequency: bool) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.shape, ctx.padding_index, ctx.by_frequency = weight_GVD.shape, padding_index, by_frequency
        return plain.embedding(rows, weight_GVD.reshape(-1, weight_GVD.shape[2]))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        lanes, entries, width = ctx.shape
        summed = torch.ops.aten.embedding_dense_backward(gradient, rows, lanes * entries, -1, ctx.by_frequency)
        summed_GVD = summed.view(lanes, entries, width)
        if ctx.padding_index >= 0:
            summed_GVD[:, ctx.padding_index] = 0
        return None, summed_GVD, None, None


_apply_embedding: Callable[..., Tensor] = _Embedding.apply


def embedding(
    indices: Tensor,
    weight_GVD: Tensor,
    *,
    shared_indices: bool,
    padding_index: int = -1,
    scale_grad_by_freq: bool = False,
) -> Tensor:
    """Looks entries up in each lane's table.

    Shape: `indices` [...] when they are shared, else [G, ...]; gives [G, ..., D].
    """
    lanes, entries, _ = weight_GVD.shape
    per_lane = indices.unsqueeze(0) if shared_indices else indices
    offsets = torch.arange(0, lanes * entries, entries, device=indices.device)
    rows = per_lane + offsets.view(lanes, *(1,) * (per_lane.ndim - 1))
    return _apply_embedding(rows, weight_GVD, padding_index, scale_grad_by_freq)
