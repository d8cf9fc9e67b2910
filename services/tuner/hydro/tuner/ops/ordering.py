"""Ops that put the elements of an axis in another order: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._ops import OpOverload

from hydro.tuner.fusion.emitter import Emitter, lane_axes, lane_axis
from hydro.tuner.fusion.layout import Layout, Value
from hydro.tuner.ops.registry import dimension_rule, lane_rule
from hydro.tuner.shrinking.dimensions import Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(aten.roll.default, aten.flip.default, aten.tril.default, aten.triu.default)
def same_but_ordered(call: Call) -> Dims:
    """Positions matter in the axes they work on, which keep their size."""
    inputs = call.dims("self")
    call.pin(*(inputs[axis] for axis in call.axes("dims", len(inputs))) if "dims" in call.arguments else inputs[-2:])
    return inputs


@dimension_rule(aten.argsort.default, aten.argsort.stable, aten.cummax.default, aten.cummin.default)
def ordered(call: Call) -> Dims | tuple[Dims, ...]:
    """An axis in another order, or running over it: it keeps its size."""
    inputs = _kept(call)
    return inputs if isinstance(call.node.meta["val"], torch.Tensor) else (inputs, inputs)


@dimension_rule(aten.sort.default, aten.sort.stable)
def sort(call: Call) -> tuple[Dims, ...]:
    """The values and where they were."""
    return (_kept(call),) * 2


@dimension_rule(aten.topk.default)
def topk(call: Call) -> tuple[Dims, ...]:
    """The largest values along an axis, which keeps its size, and where they were."""
    inputs = _kept(call)
    axis = call.axis("dim", len(inputs))
    return ((*inputs[:axis], call.new(call.shapes[0][axis], pinned=True), *inputs[axis + 1 :]),) * 2


def _kept(call: Call) -> Dims:
    inputs = call.dims("self")
    call.pin(*inputs[call.axis("dim", len(inputs)) :][:1])
    return inputs


@lane_rule(aten.roll.default)
def roll_lanes(emit: Emitter, op: OpOverload, x: Value, shifts: Sequence[int], axes: Sequence[int]) -> Value | None:
    """Exact: within each lane; axes after the channels stay packed."""
    if not axes:
        return None
    if x.is_packed and all(axis % x.ndim >= 2 for axis in axes):
        return emit.in_channels(emit.aten(op, (emit.packed(x), shifts, axes)))
    return emit.in_lanes(emit.aten(op, (emit.lane_major(x), shifts, lane_axes(axes))))


@lane_rule(aten.flip.default)
def flip_lanes(emit: Emitter, op: OpOverload, x: Value, axes: Sequence[int]) -> Value | None:
    """Exact: within each lane."""
    return emit.in_lanes(emit.aten(op, (emit.lane_major(x), lane_axes(axes))))


@lane_rule(aten.tril.default, aten.triu.default)
def triangle_lanes(emit: Emitter, op: OpOverload, x: Value, diagonal: int) -> Value | None:
    """Exact: matrices in the last two axes, and lanes are one more batch axis."""
    return emit.in_lanes(emit.aten(op, (emit.lane_major(x), diagonal)))


@lane_rule(
    aten.topk.default, aten.kthvalue.default, aten.sort.default, aten.sort.stable, aten.mode.default,
    aten.cummax.default, aten.cummin.default, aten.argsort.default, aten.argsort.stable, aten.diff.default,
)  # fmt: skip
def ordered_lanes(emit: Emitter, op: OpOverload, x: Value, *rest: Any) -> Value | list[Value] | None:
    """Exact: along an axis of each lane."""
    if x.ndim == 0 or any(isinstance(value, Value) for value in rest):
        return None
    place = [argument.name for argument in op._schema.arguments[1:]].index("dim")
    given = (*rest[:place], lane_axis(rest[place]), *rest[place + 1 :])
    node = emit.aten(op, (emit.lane_major(x), *given))
    return emit.in_lanes(node) if isinstance(emit.example, torch.Tensor) else emit.several(node, Layout.LANES)
