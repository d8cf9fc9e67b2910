"""Parts of tensors: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._ops import OpOverload

from hydro.tuner.fusion.emitter import Emitter, lane_axis
from hydro.tuner.fusion.layout import Layout, Value
from hydro.tuner.ops.registry import dimension_rule, lane_rule
from hydro.tuner.shrinking.dimensions import Dim, Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(aten.split.Tensor, aten.chunk.default, aten.tensor_split.sections)
def split(call: Call) -> tuple[Dims, ...]:
    """Equal parts; their number stays."""
    inputs = call.dims("self")
    axis = call.axis("dim", len(inputs))
    sizes = [shape[axis] for shape in call.shapes]
    if len(set(sizes)) > 1:
        return _uneven(call, inputs, axis, sizes)
    part = call.dimensions.share(inputs[axis], len(sizes))
    if "split_size" in call.arguments:
        call.rewrite("split_size", part)
    return ((*inputs[:axis], part, *inputs[axis + 1 :]),) * len(sizes)


@dimension_rule(aten.split_with_sizes.default, aten.split.sizes)
def split_with_sizes(call: Call) -> tuple[Dims, ...]:
    """Parts of given sizes: an axis is their sum."""
    inputs = call.dims("self")
    axis = call.axis("dim", len(inputs))
    sizes = [shape[axis] for shape in call.shapes]
    parts = tuple(call.new(size) for size in sizes)
    call.unify(inputs[axis], call.dimensions.total(parts))
    call.rewrite("split_sizes" if "split_sizes" in call.arguments else "split_size", *parts)
    return tuple((*inputs[:axis], part, *inputs[axis + 1 :]) for part in parts)


@dimension_rule(aten.unbind.int)
def unbind(call: Call) -> tuple[Dims, ...]:
    """Every index of an axis, which keeps its size."""
    inputs = call.dims("self")
    axis = call.axis("dim", len(inputs))
    call.pin(inputs[axis])
    return ((*inputs[:axis], *inputs[axis + 1 :]),) * len(call.shapes)


@dimension_rule(aten.select.int)
def select(call: Call) -> Dims:
    """One index of an axis, which keeps its size."""
    inputs = call.dims("self")
    axis = call.axis("dim", len(inputs))
    call.pin(inputs[axis])
    return (*inputs[:axis], *inputs[axis + 1 :])


@dimension_rule(aten.slice.Tensor, aten.narrow.default)
def slice_(call: Call) -> Dims:
    """One of equal parts of an axis, or every n-th place; of any other part the axis keeps its size."""
    inputs = call.dims("self")
    axis = call.axis("dim", len(inputs))
    size, taken = call.size(inputs[axis]), call.shape[axis]
    if taken == size and call.arguments.get("step", 1) == 1:
        if "length" in call.arguments:
            call.rewrite("length", inputs[axis])
        return inputs
    part = _strided(call, inputs[axis]) or _part(call, inputs[axis], taken)
    if part is None:
        call.pin(inputs[axis])
        part = call.new(taken, pinned=True)
    return (*inputs[:axis], part, *inputs[axis + 1 :])


def _strided(call: Call, dim: Dim) -> Dim | None:
    """Every n-th place of [size / n][n]."""
    size, step = call.size(dim), call.arguments.get("step", 1)
    if step == 1 or size % step or (call["start"] or 0) >= step or _end(call, size) < size:
        return None
    taken, places = call.dimensions.divide(dim, (size // step, step))
    call.pin(places)
    if call["end"] == size:
        call.rewrite("end", dim)
    return taken


def _part(call: Call, dim: Dim, taken: int) -> Dim | None:
    """The n-th of equal parts: its bounds are multiples of a part."""
    size, start = call.size(dim), (call["start"] or 0) % call.size(dim)
    if "length" in call.arguments or call["step"] != 1 or taken < 2 or size % taken or start % taken:
        return None
    part = call.dimensions.share(dim, size // taken)
    if start:
        call.rewrite("start", call.new(start // taken, pinned=True) + part)
    if _end(call, size) < size or call["end"] == size:
        call.rewrite("end", call.new(start // taken + 1, pinned=True) + part)
    return part


def _end(call: Call, size: int) -> int:
    end = call["end"]
    return size if end is None else min(end % size if end < 0 else end, size)


@dimension_rule(aten.select_scatter.default, aten.slice_scatter.default)
def scatter_slice(call: Call) -> Dims:
    """A part of an axis, which keeps its size, replaced."""
    inputs, source = call.dims("self"), call.dims("src")
    axis = call.axis("dim", len(inputs))
    call.pin(inputs[axis])
    rest = [dim for place, dim in enumerate(inputs) if place != axis]
    others = source if len(source) < len(inputs) else source[:axis] + source[axis + 1 :]
    for dim, other in zip(rest, others, strict=True):
        call.unify(dim, other)
    return inputs


@dimension_rule(aten.cat.default, aten.concat.default, aten.concatenate.default)
def concatenate(call: Call) -> Dims:
    """One axis is the sum of the parts', the others are equal; an empty vector counts for nothing, as in torch."""
    given = [each for each in call["tensors"] if tuple(each.meta["val"].shape) != (0,)]
    operands = [call.dims_of(each) for each in given or call["tensors"]]
    first = operands[0]
    axis = call.axis("dim", len(first))
    for other in operands[1:]:
        for place, dim in enumerate(first):
            if place != axis:
                call.unify(dim, other[place])
    return (*first[:axis], call.dimensions.total([each[axis] for each in operands]), *first[axis + 1 :])


@dimension_rule(aten.stack.default)
def stack(call: Call) -> Dims:
    """A new axis, whose size is the number of parts."""
    first, *others = [call.dims_of(each) for each in call["tensors"]]
    for other in others:
        for dim, twin in zip(first, other, strict=True):
            call.unify(dim, twin)
    axis = call.axis("dim", len(first) + 1)
    return (*first[:axis], call.new(len(others) + 1, pinned=True), *first[axis:])


def _uneven(call: Call, inputs: Dims, axis: int, sizes: list[int]) -> tuple[Dims, ...]:
    call.pin(inputs[axis])
    return tuple((*inputs[:axis], call.new(size, pinned=True), *inputs[axis + 1 :]) for size in sizes)


@lane_rule(
    aten.split.Tensor, aten.split.sizes, aten.split_with_sizes.default, aten.chunk.default, aten.tensor_split.indices,
    aten.tensor_split.sections,
)  # fmt: skip
def split_lanes(emit: Emitter, op: OpOverload, x: Value, sizes: Any, axis: int) -> list[Value]:
    """Exact: views of each lane."""
    return emit.several(emit.aten(op, (emit.lane_major(x), sizes, lane_axis(axis))), Layout.LANES)


@lane_rule(aten.unbind.int)
def unbind_lanes(emit: Emitter, op: OpOverload, x: Value, axis: int) -> list[Value]:
    """Exact: views of each lane."""
    return emit.several(emit.aten(op, (emit.lane_major(x), lane_axis(axis))), Layout.LANES)


@lane_rule(aten.select.int, aten.slice.Tensor, aten.narrow.default)
def slice_lanes(emit: Emitter, op: OpOverload, x: Value, axis: int, *rest: Any) -> Value:
    """Exact: a view of each lane; along the axes after the channels it stays packed."""
    if x.is_packed and axis % x.ndim >= 2:
        return emit.in_channels(emit.aten(op, (emit.packed(x), axis, *rest)))
    return emit.in_lanes(emit.aten(op, (emit.lane_major(x), lane_axis(axis), *rest)))


@lane_rule(aten.cat.default, aten.concat.default, aten.concatenate.default)
def cat_lanes(emit: Emitter, op: OpOverload, parts: Sequence[Value], axis: int) -> Value | None:
    """Exact: each lane's parts beside each other. Torch skips empty vectors, whatever the other parts are."""
    parts = [part for part in parts if part.shape != (0,)] or parts
    if any(part.ndim != parts[0].ndim for part in parts):
        return None
    if all(part.is_packed for part in parts) and axis % parts[0].ndim != 1:
        return emit.in_channels(emit.call(torch.cat, [emit.packed(part) for part in parts], axis))
    return emit.in_lanes(emit.call(torch.cat, [emit.lane_major(part) for part in parts], lane_axis(axis)))


@lane_rule(aten.stack.default)
def stack_lanes(emit: Emitter, op: OpOverload, parts: Sequence[Value], axis: int) -> Value:
    """Exact: each lane's parts beside each other."""
    return emit.in_lanes(emit.call(torch.stack, [emit.lane_major(part) for part in parts], lane_axis(axis)))
