"""New tensors: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

from typing import Any

import torch
from torch._ops import OpOverload

from hydro.tuner.fusion.emitter import Emitter
from hydro.tuner.fusion.layout import Layout, Value
from hydro.tuner.ops.registry import dimension_rule, lane_rule
from hydro.tuner.shrinking.dimensions import Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(
    aten.zeros.default, aten.ones.default, aten.full.default, aten.empty.memory_format, aten.rand.default,
    aten.randn.default, aten.new_zeros.default, aten.new_ones.default, aten.new_full.default, aten.new_empty.default,
)  # fmt: skip
def filled(call: Call) -> Dims:
    """Any size: what the tensor meets decides."""
    dims = tuple(call.new(size) for size in call.shape)
    call.rewrite("size", *dims)
    return dims


@dimension_rule(
    aten.zeros_like.default, aten.ones_like.default, aten.full_like.default, aten.empty_like.default,
    aten.rand_like.default, aten.randn_like.default,
)  # fmt: skip
def filled_like(call: Call) -> Dims:
    """The size of another tensor."""
    return call.dims("self")


@dimension_rule(aten.arange.default, aten.arange.start, aten.arange.start_step, aten.eye.default, aten.linspace.default)
def numbered(call: Call) -> Dims:
    """Values depend on the size, which stays."""
    return tuple(call.new(size, pinned=True) for size in call.shape)


@dimension_rule(aten.scalar_tensor.default)
def scalar(call: Call) -> Dims:
    """One number."""
    return ()


@lane_rule(
    aten.new_zeros.default, aten.new_ones.default, aten.new_full.default, aten.new_empty.default,
    aten.zeros_like.default, aten.ones_like.default, aten.full_like.default, aten.empty_like.default,
)  # fmt: skip
def filled_lanes(emit: Emitter, op: OpOverload, x: Value, *rest: Any) -> Value | None:
    """Exact: of the operand only type, device and perhaps shape count, so that lanes share the result."""
    if any(isinstance(value, Value) for value in rest):
        return None
    one_lane = emit.method("select", emit.lane_major(x), 0, 0)
    return Value(emit.example, {Layout.SHARED: emit.aten(op, (one_lane, *rest))})
