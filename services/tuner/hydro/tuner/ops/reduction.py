"""Reductions: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._ops import OpOverload
from torch.fx import Node

from hydro.tuner.fusion.emitter import Emitter, lane_axes, lane_axis
from hydro.tuner.fusion.layout import Layout, Value
from hydro.tuner.ops.registry import dimension_rule, lane_rule
from hydro.tuner.shrinking.dimensions import Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(aten.mean.dim, aten.var.correction, aten.std.correction, aten.var.dim, aten.std.dim)
def mean(call: Call) -> Dims:
    """Averages do not grow with the width: what they reduce may shrink."""
    return _reduce(call, call.axes("dim", len(call.dims("self"))), bool(call.arguments.get("keepdim", False)))


@dimension_rule(aten.mean.default, aten.var.default, aten.std.default)
def mean_of_all(call: Call) -> Dims:
    """The average of everything."""
    return ()


@dimension_rule(aten.var_mean.correction, aten.std_mean.correction)
def two_means(call: Call) -> tuple[Dims, ...]:
    """Two averages."""
    return (mean(call),) * 2


@dimension_rule(
    aten.sum.dim_IntList, aten.amax.default, aten.amin.default, aten.logsumexp.default, aten.any.dim, aten.any.dims,
    aten.all.dim, aten.all.dims, aten.prod.dim_int, aten.linalg_vector_norm.default, aten.norm.ScalarOpt_dim,
)  # fmt: skip
def total(call: Call) -> Dims:
    """Sums and extremes grow with the width, so what they reduce keeps its size."""
    inputs = call.dims("self")
    axes = call.axes("dim", len(inputs))
    call.pin(*(inputs[axis] for axis in axes))
    return _reduce(call, axes, bool(call["keepdim"]))


@dimension_rule(aten.argmax.default, aten.argmin.default)
def arg_reduction(call: Call) -> Dims:
    """A position in an axis, which keeps its size."""
    inputs = call.dims("self")
    axes = call.axes("dim", len(inputs))
    call.pin(*(inputs[axis] for axis in axes))
    return _reduce(call, axes, bool(call["keepdim"]))


@dimension_rule(aten.max.dim, aten.min.dim, aten.median.dim, aten.mode.default, aten.kthvalue.default)
def extreme(call: Call) -> tuple[Dims, ...]:
    """One of an axis, which keeps its size, and its position."""
    return (arg_reduction(call),) * 2


@dimension_rule(aten.sum.default, aten.max.default, aten.min.default, aten.any.default, aten.all.default)
def total_of_all(call: Call) -> Dims:
    """Everything in one number."""
    call.pin(*call.dims("self"))
    return ()


@dimension_rule(
    aten.softmax.int, aten.log_softmax.int, aten.cumsum.default, aten.cumprod.default, aten.logcumsumexp.default,
)  # fmt: skip
def softmax(call: Call) -> Dims:
    """Shares of a whole get larger where there are fewer, so the axis keeps its size."""
    inputs = call.dims("self")
    call.pin(inputs[call.axis("dim", len(inputs))])
    return inputs


def _reduce(call: Call, axes: list[int], keep: bool) -> Dims:
    inputs = call.dims("self")
    return tuple(() if axis in axes else dim for axis, dim in enumerate(inputs) if keep or axis not in axes)


@lane_rule(
    aten.mean.dim, aten.sum.dim_IntList, aten.amax.default, aten.amin.default, aten.logsumexp.default,
    aten.var.correction, aten.std.correction, aten.var.dim, aten.std.dim, aten.softmax.int, aten.log_softmax.int,
    aten.cumsum.default, aten.argmax.default, aten.argmin.default,
)  # fmt: skip
def reduction_lanes(emit: Emitter, op: OpOverload, x: Value, axes: Any, *rest: Any) -> Value | None:
    """Exact: within each lane; over the axes after the channels it stays in the packed layout."""
    if axes is None or axes == [] or x.ndim == 0:
        return _reduction_of_all_lanes(emit, op, x, rest)
    listed = [axes] if isinstance(axes, int) else list(axes)
    if x.is_packed and all(axis % x.ndim >= 2 for axis in listed):
        # Each channel's pixels in a row: channels beside each other are summed in orders that depend on their place.
        return emit.in_channels(emit.aten(op, (emit.method("contiguous", emit.packed(x)), axes, *rest)))
    shifted = lane_axis(axes) if isinstance(axes, int) else lane_axes(axes)
    return emit.in_lanes(emit.aten(op, (emit.lane_major(x), shifted, *rest)))


def _reduction_of_all_lanes(emit: Emitter, op: OpOverload, x: Value, rest: Sequence[Any]) -> Value | None:
    own, axes = emit.lane_major(x), list(range(1, x.ndim + 1))
    if op in (aten.argmax.default, aten.argmin.default):
        is_number = x.ndim > 0 and emit.example.ndim == 0
        return emit.in_lanes(emit.aten(op, (emit.method("flatten", own, 1), 1, *rest))) if is_number else None
    # Of one element it could not be told whether an empty list of axes is all of them.
    if x.example.numel() == 1 or emit.example.numel() != 1:
        return None
    return emit.in_lanes(emit.aten(op, (own, axes, *rest)))


@lane_rule(
    aten.max.dim, aten.min.dim, aten.median.dim, aten.prod.dim_int, aten.any.dim, aten.all.dim, aten.any.dims,
    aten.all.dims, aten.linalg_vector_norm.default, aten.norm.ScalarOpt_dim, aten.cumprod.default,
    aten.logcumsumexp.default, aten.std_mean.correction, aten.var_mean.correction, aten.std_mean.dim,
    aten.var_mean.dim, aten.count_nonzero.dim_IntList, aten.glu.default,
)  # fmt: skip
def along_axes_lanes(emit: Emitter, op: OpOverload, x: Value, *rest: Any) -> Value | list[Value] | None:
    """Exact: along axes of each lane; those after the channels stay packed."""
    names = [argument.name for argument in op._schema.arguments[1:]]
    place = names.index("dim")
    axes = [rest[place]] if isinstance(rest[place], int) else rest[place]
    if not axes or x.ndim == 0:
        return None
    if x.is_packed and all(axis % x.ndim >= 2 for axis in axes):
        return _outputs(emit, emit.aten(op, (emit.packed(x), *rest)), Layout.PACKED)
    shifted = lane_axis(rest[place]) if isinstance(rest[place], int) else lane_axes(axes)
    given = (*rest[:place], shifted, *rest[place + 1 :])
    return _outputs(emit, emit.aten(op, (emit.lane_major(x), *given)), Layout.LANES)


def _outputs(emit: Emitter, node: Node, layout: Layout) -> Value | list[Value]:
    if not isinstance(emit.example, torch.Tensor):
        return emit.several(node, layout)
    return emit.in_channels(node) if layout is Layout.PACKED else emit.in_lanes(node)


@lane_rule(aten.mean.default, aten.sum.default)
def total_lanes(emit: Emitter, op: OpOverload, x: Value, dtype: torch.dtype | None) -> Value:
    """Exact: over everything but the lanes."""
    own = emit.lane_major(x)
    flat = emit.method("unsqueeze", own, 1) if x.ndim == 0 else emit.method("flatten", own, 1)
    name = "mean" if op is aten.mean.default else "sum"
    return emit.in_lanes(emit.method(name, flat, 1, dtype=dtype))


_ALONG_AN_AXIS = {
    aten.max.default: aten.amax.default,
    aten.min.default: aten.amin.default,
    aten.any.default: aten.any.dim,
    aten.all.default: aten.all.dim,
    aten.prod.default: aten.prod.dim_int,
    aten.var.default: aten.var.dim,
    aten.std.default: aten.std.dim,
}
"""What reduces everything to what reduces an axis; further arguments have the same names."""


@lane_rule(*_ALONG_AN_AXIS)
def reduction_of_all_lanes(emit: Emitter, op: OpOverload, x: Value, *rest: Any) -> Value | None:
    """Exact: over everything but the lanes."""
    if x.ndim == 0:
        return x if op in (aten.max.default, aten.min.default) else None
    given = zip((argument.name for argument in op._schema.arguments[1:]), rest, strict=True)
    rows = emit.method("flatten", emit.lane_major(x), 1)
    return emit.in_lanes(emit.call(_ALONG_AN_AXIS[op], rows, 1, **dict(given)))
