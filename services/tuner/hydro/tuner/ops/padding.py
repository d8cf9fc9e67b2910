"""Padding: what it does to dimensions, and how it runs over lanes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch._ops import OpOverload

from hydro.tuner.fusion.emitter import Emitter
from hydro.tuner.fusion.layout import Value
from hydro.tuner.ops.registry import dimension_rule, lane_rule
from hydro.tuner.shrinking.dimensions import Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(aten.pad.default, aten.constant_pad_nd.default)
def pad(call: Call) -> Dims:
    """Axes that are padded keep their size."""
    inputs, shape = call.dims("self"), call.shape
    padded = [axis for axis, dim in enumerate(inputs) if call.size(dim) != shape[axis]]
    call.pin(*(inputs[axis] for axis in padded))
    return tuple(call.new(shape[axis], pinned=True) if axis in padded else dim for axis, dim in enumerate(inputs))


@lane_rule(aten.pad.default)
def pad_lanes(
    emit: Emitter, op: OpOverload, x: Value, pad: Sequence[int], mode: str, value: float | None
) -> Value | None:
    """Exact: what is added to an axis comes from the same lane; axes after the channels stay packed."""
    padded = len(pad) // 2
    if not any(pad):
        return Value(emit.example, dict(x.forms))
    if (x.is_packed or mode != "constant") and padded == x.ndim - 2:
        return emit.in_channels(emit.aten(op, (emit.packed(x), pad, mode, value)))
    # The other modes take one or two axes in front of those that they pad.
    if mode == "constant" or padded == x.ndim - 1:
        return emit.in_lanes(emit.aten(op, (emit.lane_major(x), pad, mode, value)))
    return None


@lane_rule(aten.constant_pad_nd.default)
def constant_pad_lanes(emit: Emitter, op: OpOverload, x: Value, pad: Sequence[int], value: float) -> Value | None:
    """Exact: what is added is a constant."""
    return pad_lanes(emit, aten.pad.default, x, pad, "constant", float(value))
