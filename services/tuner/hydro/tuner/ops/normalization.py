"""Normalizations: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

import torch

from hydro.tuner.ops.registry import dimension_rule
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
