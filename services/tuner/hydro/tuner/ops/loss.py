"""Losses: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch._ops import OpOverload

from hydro.nn import class_losses
from hydro.nn import functional as grouped
from hydro.tuner.fusion.emitter import Emitter
from hydro.tuner.fusion.layout import Value
from hydro.tuner.ops.elementwise import emit_whole_vectors, needs_whole_vectors
from hydro.tuner.ops.registry import dimension_rule, lane_rule, takes_numbers
from hydro.tuner.shrinking.dimensions import Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(
    aten.cross_entropy_loss.default, aten.nll_loss_nd.default, aten.mse_loss.default, aten.l1_loss.default,
    aten.smooth_l1_loss.default, aten.huber_loss.default, aten.binary_cross_entropy.default,
    aten.binary_cross_entropy_with_logits.default, aten.kl_div.default, aten.nll_loss.default, aten.nll_loss2d.default,
    aten.poisson_nll_loss.default, aten.soft_margin_loss.default, aten.hinge_embedding_loss.default,
)  # fmt: skip
def loss(call: Call) -> Dims | tuple[Dims, ...]:
    """What a loss compares is no width."""
    for operand in call.operands():
        call.pin(*call.dims_of(operand))
    first = call.node.meta["val"]
    given = [first] if isinstance(first, torch.Tensor) else first
    dims = tuple(tuple(call.new(int(size), pinned=True) for size in each.shape) for each in given)
    return dims[0] if isinstance(first, torch.Tensor) else dims


@takes_numbers
@lane_rule(aten.cross_entropy_loss.default)
def cross_entropy_lanes(
    emit: Emitter, op: OpOverload, logits: Value, target: Value, weight: Value | None, reduction: int,
    ignore_index: int, label_smoothing: float | Value,
) -> Value | None:  # fmt: skip
    """Exact: lanes are one more batch axis, and each averages over its own samples."""
    if weight is not None or target.example.dtype.is_floating_point:
        return _general_cross_entropy(emit, logits, target, weight, reduction, ignore_index, label_smoothing)
    smoothing = emit.lane_major(label_smoothing) if isinstance(label_smoothing, Value) else label_smoothing
    own = (emit.lane_major(logits), emit.lane_major(target))
    return emit.in_lanes(emit.call(grouped.cross_entropy, *own, _REDUCTIONS[reduction], int(ignore_index), smoothing))


def _general_cross_entropy(
    emit: Emitter, logits: Value, target: Value, weight: Value | None, reduction: int, ignore_index: int,
    label_smoothing: float | Value,
) -> Value | None:  # fmt: skip
    if isinstance(label_smoothing, Value):
        return None
    own = (emit.lane_major(logits), emit.lane_major(target), None if weight is None else emit.lane_major(weight))
    name = _REDUCTIONS[reduction]
    if target.example.dtype.is_floating_point:
        return emit.in_lanes(emit.call(class_losses.soft_cross_entropy, *own, name, label_smoothing))
    return emit.in_lanes(emit.call(class_losses.weighted_cross_entropy, *own, name, int(ignore_index), label_smoothing))


@lane_rule(aten.nll_loss_nd.default, aten.nll_loss.default, aten.nll_loss2d.default)
def nll_loss_lanes(
    emit: Emitter, op: OpOverload, logs: Value, target: Value, weight: Value | None, reduction: int, ignore_index: int
) -> Value:
    """Exact: lanes are one more batch axis, and each averages over its own samples."""
    own = (emit.lane_major(logs), emit.lane_major(target), None if weight is None else emit.lane_major(weight))
    return emit.in_lanes(emit.call(class_losses.nll_loss, *own, _REDUCTIONS[reduction], int(ignore_index)))


@lane_rule(
    aten.mse_loss.default, aten.l1_loss.default, aten.smooth_l1_loss.default, aten.huber_loss.default,
    aten.binary_cross_entropy.default, aten.binary_cross_entropy_with_logits.default, aten.kl_div.default,
    aten.poisson_nll_loss.default, aten.soft_margin_loss.default, aten.hinge_embedding_loss.default,
)  # fmt: skip
def pointwise_loss_lanes(emit: Emitter, op: OpOverload, x: Value, target: Value, *rest: Any) -> Value | None:
    """Exact: the loss of each element, reduced within its lane."""
    given = dict(zip((argument.name for argument in op._schema.arguments[2:]), rest, strict=True))
    if any(isinstance(value, Value) and value.is_number for value in rest):
        return None
    reduction = _REDUCTIONS[given["reduction"]]
    ndim = max(x.ndim, target.ndim)
    values = {
        name: emit.broadcastable(value, ndim) if isinstance(value, Value) else value for name, value in given.items()
    }
    values["reduction"] = 0
    broadcast = emit.call(torch.broadcast_tensors, emit.broadcastable(x, ndim), emit.broadcastable(target, ndim))
    pair = (emit.call(operator.getitem, broadcast, 0), emit.call(operator.getitem, broadcast, 1))
    shape = tuple(torch.broadcast_shapes(x.shape, target.shape))  # type: ignore[no-untyped-call]
    arguments = (*pair, *values.values())
    if op is aten.binary_cross_entropy.default:
        losses = emit.call(class_losses.binary_cross_entropy, *pair, values["weight"])
    elif needs_whole_vectors(op, torch.empty(shape, dtype=emit.example.dtype, device="meta")):
        losses = emit_whole_vectors(emit, op, shape, arguments)
    else:
        losses = emit.aten(op, arguments)
    if reduction == "none" or ndim == 0:
        return emit.in_lanes(losses)
    return emit.in_lanes(emit.method(reduction, emit.method("flatten", losses, 1), 1))


_REDUCTIONS = ("none", "mean", "sum")
