"""Losses: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

import torch

from hydro.tuner.ops.registry import dimension_rule
from hydro.tuner.shrinking.dimensions import Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(
    aten.cross_entropy_loss.default, aten.nll_loss_nd.default, aten.mse_loss.default, aten.l1_loss.default,
    aten.smooth_l1_loss.default, aten.huber_loss.default, aten.binary_cross_entropy.default,
    aten.binary_cross_entropy_with_logits.default, aten.kl_div.default,
)  # fmt: skip
def loss(call: Call) -> Dims:
    """What a loss compares is no width."""
    for operand in call.operands():
        call.pin(*call.dims_of(operand))
    return tuple(call.new(size, pinned=True) for size in call.shape)
