"""Convolutions: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

from typing import Any

import torch
from torch._ops import OpOverload
from torch.fx import Node

from hydro.nn import functional as grouped
from hydro.tuner.fusion.emitter import Emitter
from hydro.tuner.fusion.layout import Value, channels_innermost
from hydro.tuner.ops.registry import dimension_rule, lane_rule
from hydro.tuner.shrinking.dimensions import Dim, Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(
    aten.conv1d.default, aten.conv2d.default, aten.conv3d.default,
    aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding,
)  # fmt: skip
def convolution(call: Call) -> Dims:
    """Weight [out, in / groups, kernel ...]; groups shrink only after what is inside them."""
    inputs, weight, groups = call.dims("input"), call.dims("weight"), int(call["groups"])
    call.pin(*weight[2:])
    channels = inputs[-len(weight) + 1]
    _meet(call, channels, weight[1], weight[0], groups)
    call.contract(call["weight"], weight[1])
    if call.is_given("bias"):
        call.unify(call.dims("bias")[0], weight[0])
    return _output(call, inputs, weight[0], len(weight) - 2)


@dimension_rule(aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input)
def transposed_convolution(call: Call) -> Dims:
    """Weight [in, out / groups, kernel ...]."""
    inputs, weight, groups = call.dims("input"), call.dims("weight"), int(call["groups"])
    call.pin(*weight[2:])
    call.unify(inputs[-len(weight) + 1], weight[0])
    outer, fan_in = call.dimensions.divide(weight[0], (groups, call.size(weight[0]) // groups))
    if fan_in:
        call.dimensions.defer(outer, 2)
    call.rewrite("groups", outer)
    call.contract(call["weight"], fan_in)
    channels = outer + weight[1]
    if call.is_given("bias"):
        call.unify(call.dims("bias")[0], channels)
    return _output(call, inputs, channels, len(weight) - 2)


def _meet(call: Call, channels: Dim, fan_in: Dim, fan_out: Dim, groups: int) -> None:
    if groups == 1:
        call.unify(channels, fan_in)
        return
    outer, inner = call.dimensions.divide(channels, (groups, call.size(fan_in)))
    call.unify(inner, fan_in)
    call.unify(call.dimensions.divide(fan_out, (groups, call.size(fan_out) // groups))[0], outer)
    if inner:
        call.dimensions.defer(outer, 2)
    call.rewrite("groups", outer)


def _output(call: Call, inputs: Dims, channels: Dim, spatial: int) -> Dims:
    call.pin(*inputs[-spatial:])
    grid = (call.new(size, pinned=True) for size in call.shape[-spatial:])
    return (*inputs[: -spatial - 1], channels, *grid)


@lane_rule(
    aten.conv1d.default, aten.conv2d.default, aten.conv3d.default,
    aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding,
)  # fmt: skip
def convolution_lanes(
    emit: Emitter, op: OpOverload, x: Value, weight: Value, bias: Value | None, stride: Any, padding: Any,
    dilation: Any, groups: int,
) -> Value | None:  # fmt: skip
    """Exact: each lane's filters are a group of their own, so they meet that lane's channels only.

    A shared input needs no groups: all lanes' filters read the same channels. In float64, which is run for exactness,
    it has them all the same: torch loops over groups there, so each lane has the bits of the model alone.
    """
    if weight.is_shared or x.ndim != weight.ndim:
        return None
    filters, own_bias = _filters(emit, weight, bias)
    filters = emit.call(channels_innermost, filters)
    geometry = {"stride": stride, "padding": padding, "dilation": dilation}
    if x.is_shared and groups == 1 and x.example.dtype != torch.float64:
        image = emit.call(channels_innermost, emit.shared(x))
        output = emit.call(grouped.convolution_shared, op, image, filters, own_bias, **geometry)
    else:
        given = (emit.packed(x), filters, own_bias, emit.lanes, groups)
        output = emit.call(grouped.convolution, op, *given, **geometry)
    return emit.in_channels(emit.call(channels_innermost, output))


@lane_rule(aten.conv_transpose1d.default, aten.conv_transpose2d.input, aten.conv_transpose3d.input)
def transposed_convolution_lanes(
    emit: Emitter, op: OpOverload, x: Value, weight: Value, bias: Value | None, stride: Any, padding: Any,
    output_padding: Any, groups: int, dilation: Any,
) -> Value | None:  # fmt: skip
    """Exact: each lane's filters are a group of their own."""
    if weight.is_shared or x.ndim != weight.ndim:
        return None
    geometry = {"stride": stride, "padding": padding, "output_padding": output_padding, "dilation": dilation}
    given = (emit.packed(x), *_filters(emit, weight, bias), emit.lanes, groups)
    return emit.in_channels(emit.call(grouped.convolution, op, *given, **geometry))


def _filters(emit: Emitter, weight: Value, bias: Value | None) -> tuple[Node, Node | None]:
    """Those of all lanes, one lane after the other."""
    own_bias = None if bias is None else emit.method("flatten", emit.lane_major(bias))
    return emit.method("flatten", emit.lane_major(weight), 0, 1), own_bias
