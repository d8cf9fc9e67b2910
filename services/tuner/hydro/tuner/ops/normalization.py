"""Normalizations: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

import operator

import torch
from torch._ops import OpOverload
from torch.nn import functional as plain

from hydro.nn import functional as grouped
from hydro.tuner.fusion.emitter import Emitter
from hydro.tuner.fusion.layout import Value
from hydro.tuner.ops.registry import dimension_rule, lane_rule
from hydro.tuner.shrinking.dimensions import Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(aten.batch_norm.default, aten.instance_norm.default)
def batch_norm(call: Call) -> Dims:
    """Gain, bias and running statistics go with the channels."""
    inputs = call.dims("input")
    for name in ("weight", "bias", "running_mean", "running_var"):
        if call.is_given(name):
            call.unify(call.dims(name)[0], inputs[1])
    return inputs


@dimension_rule(aten.layer_norm.default, aten.rms_norm.default)
def layer_norm(call: Call) -> Dims:
    """Gain and bias go with the last axes."""
    inputs = call.dims("input")
    normalized = inputs[-len(call["normalized_shape"]) :]
    for name in ("weight", "bias"):
        if name in call.arguments and call.is_given(name):
            for dim, other in zip(call.dims(name), normalized, strict=True):
                call.unify(dim, other)
    call.rewrite("normalized_shape", *normalized)
    return inputs


@dimension_rule(aten.group_norm.default)
def group_norm(call: Call) -> Dims:
    """Channels shrink inside their groups first."""
    inputs = call.dims("input")
    for name in ("weight", "bias"):
        if call.is_given(name):
            call.unify(call.dims(name)[0], inputs[1])
    groups = int(call["num_groups"])
    outer, inner = call.dimensions.divide(inputs[1], (groups, call.size(inputs[1]) // groups))
    if inner:
        call.dimensions.defer(outer, 2)
    call.rewrite("num_groups", outer)
    return inputs


@lane_rule(aten.batch_norm.default)
def batch_norm_lanes(
    emit: Emitter, op: OpOverload, x: Value, weight: Value | None, bias: Value | None, mean: Value | None,
    variance: Value | None, training: bool, momentum: float, eps: float, cudnn: bool,
) -> Value | None:  # fmt: skip
    """Exact: a channel is normalized over its own samples, and lanes are more channels."""
    # Running statistics change in place, which a spread view of shared ones cannot.
    if any(value is not None and value.is_shared for value in (mean, variance)) or x.ndim < 2:
        return None
    forms = (None if value is None else emit.lane_major(value) for value in (weight, bias, mean, variance))
    return emit.in_channels(emit.call(grouped.batch_norm, emit.packed(x), *forms, training, momentum, eps))


@lane_rule(aten.layer_norm.default)
def layer_norm_lanes(
    emit: Emitter, op: OpOverload, x: Value, shape: list[int], weight: Value | None, bias: Value | None, eps: float,
    cudnn: bool,
) -> Value | None:  # fmt: skip
    """Exact: the last axes are normalized within each lane; gain and bias are broadcast from the lane's own."""
    own = (None if value is None else emit.lane_major(value) for value in (weight, bias))
    return emit.in_lanes(emit.call(grouped.layer_norm, emit.lane_major(x), shape, *own, eps))


@lane_rule(aten.group_norm.default)
def group_norm_lanes(
    emit: Emitter, op: OpOverload, x: Value, groups: int, weight: Value | None, bias: Value | None, eps: float,
    cudnn: bool,
) -> Value | None:  # fmt: skip
    """Exact: a group is normalized by itself, and lanes are more groups."""
    own = (None if value is None else emit.method("flatten", emit.lane_major(value)) for value in (weight, bias))
    lane_groups = emit.call(operator.mul, emit.lanes, groups)
    return emit.in_channels(emit.call(plain.group_norm, emit.packed(x), lane_groups, *own, eps))


@lane_rule(aten.instance_norm.default)
def instance_norm_lanes(
    emit: Emitter, op: OpOverload, x: Value, weight: Value | None, bias: Value | None, mean: Value | None,
    variance: Value | None, uses_input: bool, momentum: float, eps: float, cudnn: bool,
) -> Value | None:  # fmt: skip
    """Exact: a sample's channel is normalized by itself, and lanes are more channels."""
    own = (weight, bias, mean, variance)
    if any(value is not None and value.is_shared for value in own) or x.ndim < 3:
        return None
    gain, shift, *statistics = (None if value is None else emit.lane_major(value) for value in own)
    affine = (None if node is None else emit.method("flatten", node) for node in (gain, shift))
    running = (None if node is None else emit.method("view", node, -1) for node in statistics)
    return emit.in_channels(
        emit.call(plain.instance_norm, emit.packed(x), *running, *affine, uses_input, momentum, eps)
    )


@lane_rule(aten.rms_norm.default)
def rms_norm_lanes(
    emit: Emitter, op: OpOverload, x: Value, shape: list[int], weight: Value | None, eps: float | None
) -> Value:
    """Exact: the last axes are normalized within each lane, then scaled by the lane's own gain."""
    normalized = emit.aten(op, (emit.lane_major(x), shape, None, eps))
    return emit.in_lanes(
        normalized if weight is None else emit.call(torch.mul, normalized, emit.broadcastable(weight, x.ndim))
    )
