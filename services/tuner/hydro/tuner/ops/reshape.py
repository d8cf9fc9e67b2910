"""Ops that move elements and change none: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch._ops import OpOverload

from hydro.tuner.fusion.emitter import Emitter, lane_axes, lane_axis
from hydro.tuner.fusion.layout import Layout, Value
from hydro.tuner.ops.registry import dimension_rule, lane_rule
from hydro.tuner.shrinking.dimensions import DimensionMismatch, Dims
from hydro.tuner.shrinking.propagation import Call, broadcast_dims

aten = torch.ops.aten


@dimension_rule(aten.view.default, aten.reshape.default, aten._unsafe_view.default)
def view(call: Call) -> Dims:
    """The same elements in row-major order: dimensions are cut into factors and put together again."""
    dims = _regroup(call, call.dims("self"), call.shape)
    call.rewrite("size" if "size" in call.arguments else "shape", *dims)
    return dims


@dimension_rule(aten.flatten.using_ints, aten.view_as.default, aten.reshape_as.default, aten.ravel.default)
def flatten(call: Call) -> Dims:
    """A view whose sizes the op finds itself."""
    return _regroup(call, call.dims("self"), call.shape)


@dimension_rule(aten.unflatten.int)
def unflatten(call: Call) -> Dims:
    """One axis into several."""
    dims = _regroup(call, call.dims("self"), call.shape)
    axis = call.axis("dim", len(call.dims("self")))
    call.rewrite("sizes", *dims[axis : axis + len(call["sizes"])])
    return dims


@dimension_rule(aten.permute.default)
def permute(call: Call) -> Dims:
    """Axes in another order."""
    inputs = call.dims("self")
    return tuple(inputs[axis] for axis in call["dims"])


@dimension_rule(aten.transpose.int, aten.swapaxes.default, aten.swapdims.default)
def transpose(call: Call) -> Dims:
    """Two axes exchanged."""
    inputs = list(call.dims("self"))
    names = ("axis0", "axis1") if "axis0" in call.arguments else ("dim0", "dim1")
    one, other = (call.axis(name, len(inputs)) for name in names)
    inputs[one], inputs[other] = inputs[other], inputs[one]
    return tuple(inputs)


@dimension_rule(aten.t.default, aten.numpy_T.default)
def reverse(call: Call) -> Dims:
    """All axes in reverse order."""
    return call.dims("self")[::-1]


@dimension_rule(aten.mT.default, aten.adjoint.default)
def matrix_transpose(call: Call) -> Dims:
    """The last two axes exchanged."""
    inputs = call.dims("self")
    return (*inputs[:-2], inputs[-1], inputs[-2])


@dimension_rule(aten.movedim.int, aten.moveaxis.int)
def movedim(call: Call) -> Dims:
    """One axis at another place."""
    inputs = list(call.dims("self"))
    source, destination = call.axis("source", len(inputs)), call.axis("destination", len(inputs))
    inputs.insert(destination, inputs.pop(source))
    return tuple(inputs)


@dimension_rule(aten.unsqueeze.default)
def unsqueeze(call: Call) -> Dims:
    """An axis of size one more."""
    inputs = call.dims("self")
    axis = call.axis("dim", len(inputs) + 1)
    return (*inputs[:axis], (), *inputs[axis:])


@dimension_rule(aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims)
def squeeze(call: Call) -> Dims:
    """Axes of size one less."""
    inputs = call.dims("self")
    axes = call.axes("dim", len(inputs)) if "dim" in call.arguments else range(len(inputs))
    return tuple(dim for axis, dim in enumerate(inputs) if axis not in axes or call.size(dim) != 1)


@dimension_rule(aten.expand.default)
def expand(call: Call) -> Dims:
    """Axes of size one, and new ones in front, repeated: to any size, which what they meet decides."""
    inputs, shape = call.dims("self"), call.shape
    added = len(shape) - len(inputs)
    dims = tuple(
        inputs[axis - added] if axis >= added and call.size(inputs[axis - added]) == size else call.new(size)
        for axis, size in enumerate(shape)
    )
    call.rewrite("size", *dims)
    return dims


@dimension_rule(aten.expand_as.default)
def expand_as(call: Call) -> Dims:
    """Broadcast to another tensor's shape."""
    inputs, other = call.dims("self"), call.dims("other")
    for dim, target in zip(reversed(inputs), reversed(other), strict=False):
        if call.size(dim) != 1:
            call.unify(dim, target)
    return other


@dimension_rule(aten.broadcast_to.default)
def broadcast_to(call: Call) -> Dims:
    """Axes of size one, and new ones in front, repeated."""
    return expand(call)


@dimension_rule(aten.broadcast_tensors.default)
def broadcast_tensors(call: Call) -> tuple[Dims, ...]:
    """Each broadcast to the shape of all."""
    return (broadcast_dims(call, *(call.dims_of(each) for each in call["tensors"])),) * len(call["tensors"])


@dimension_rule(aten.repeat.default)
def repeat(call: Call) -> Dims:
    """Tiles: an axis becomes [repeats][size]."""
    inputs, repeats = call.dims("self"), call["repeats"]
    padded = ((),) * (len(repeats) - len(inputs)) + inputs
    counts = [call.new(int(count), pinned=call.size(dim) > 1) for count, dim in zip(repeats, padded, strict=True)]
    call.rewrite("repeats", *counts)
    return tuple(count + dim for count, dim in zip(counts, padded, strict=True))


@dimension_rule(aten.repeat_interleave.self_int)
def repeat_interleave(call: Call) -> Dims:
    """Each element several times: an axis becomes [size][repeats]."""
    inputs = call.dims("self")
    if call["dim"] is None or call["output_size"] is not None:
        raise DimensionMismatch("repeat_interleave over all axes, or with an output size")
    axis = call.axis("dim", len(inputs))
    return (*inputs[:axis], inputs[axis] + call.new(int(call["repeats"]), pinned=True), *inputs[axis + 1 :])


@dimension_rule(aten.pixel_shuffle.default)
def pixel_shuffle(call: Call) -> Dims:
    """Channels [C][factor squared] into space."""
    inputs, shape = call.dims("self"), call.shape
    channels, block = call.dimensions.divide(inputs[-3], (shape[-3], call["upscale_factor"] ** 2))
    call.pin(block, *inputs[-2:])
    return (*inputs[:-3], channels, *(call.new(size, pinned=True) for size in shape[-2:]))


@dimension_rule(aten.pixel_unshuffle.default)
def pixel_unshuffle(call: Call) -> Dims:
    """Space into channels [C][factor squared]."""
    inputs, shape = call.dims("self"), call.shape
    call.pin(*inputs[-2:])
    block = call.new(call["downscale_factor"] ** 2, pinned=True)
    return (*inputs[:-3], inputs[-3] + block, *(call.new(size, pinned=True) for size in shape[-2:]))


@dimension_rule(aten.unfold.default)
def unfold(call: Call) -> Dims:
    """Windows over an axis, which keeps its size."""
    inputs, shape = call.dims("self"), call.shape
    axis = call.axis("dimension", len(inputs))
    call.pin(inputs[axis])
    windows, window = call.new(shape[axis], pinned=True), call.new(shape[-1], pinned=True)
    return (*inputs[:axis], windows, *inputs[axis + 1 :], window)


@dimension_rule(aten.view_as_complex.default)
def view_as_complex(call: Call) -> Dims:
    """The last axis holds real and imaginary parts."""
    inputs = call.dims("self")
    call.pin(inputs[-1])
    return inputs[:-1]


@dimension_rule(aten.view_as_real.default)
def view_as_real(call: Call) -> Dims:
    """Real and imaginary parts in a last axis."""
    return (*call.dims("self"), call.new(2, pinned=True))


@dimension_rule(aten.diagonal.default)
def diagonal(call: Call) -> Dims:
    """A diagonal of two axes, which keep their size."""
    inputs, shape = call.dims("self"), call.shape
    axes = [call.axis("dim1", len(inputs)), call.axis("dim2", len(inputs))]
    call.pin(*(inputs[axis] for axis in axes))
    rest = (dim for axis, dim in enumerate(inputs) if axis not in axes)
    return (*rest, call.new(shape[-1], pinned=True))


@dimension_rule(aten.im2col.default)
def im2col(call: Call) -> Dims:
    """Windows of space: [C][window] channels at each of the places."""
    inputs, shape = call.dims("self"), call.shape
    call.pin(*inputs[-2:])
    window = call.new(math.prod(call["kernel_size"]), pinned=True)
    return (*inputs[:-3], inputs[-3] + window, call.new(shape[-1], pinned=True))


def _regroup(call: Call, inputs: Dims, shape: tuple[int, ...]) -> Dims:
    return call.dimensions.divide(tuple(atom for dim in inputs for atom in dim), shape)


@lane_rule(
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.flatten.using_ints, aten.view_as.default,
    aten.reshape_as.default, aten.unflatten.int, aten.unsqueeze.default, aten.squeeze.default, aten.squeeze.dim,
    aten.squeeze.dims, aten.ravel.default,
)  # fmt: skip
def view_lanes(emit: Emitter, op: OpOverload, x: Value, *rest: Any) -> Value:
    """Exact: the same elements of each lane in the same order."""
    shape = tuple(emit.example.shape)
    if shape == x.shape:
        return Value(emit.example, dict(x.forms))
    if x.is_packed and _keeps_channels(x.shape, shape):
        own = emit.method("reshape", emit.packed(x), shape[0], -1, *shape[2:])
        return emit.in_channels(own)
    return emit.in_lanes(emit.method("reshape", emit.lane_major(x), emit.lanes, *shape))


def _keeps_channels(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether only axes after the channels are merged into them, which leaves each lane's block whole."""
    if len(before) < 2 or len(after) < 2 or before[0] != after[0] or 0 in before:
        return False
    merged = len(before) - len(after)
    return merged >= 0 and after[2:] == before[2 + merged :]


@lane_rule(aten.permute.default)
def permute_lanes(emit: Emitter, op: OpOverload, x: Value, axes: Sequence[int]) -> Value:
    """Exact: a view of each lane."""
    order = (0, *(axis % x.ndim + 1 for axis in axes))
    return emit.in_lanes(emit.method("permute", emit.lane_major(x), *order))


@lane_rule(aten.transpose.int, aten.swapaxes.default, aten.swapdims.default)
def transpose_lanes(emit: Emitter, op: OpOverload, x: Value, one: int, other: int) -> Value:
    """Exact: a view of each lane."""
    return emit.in_lanes(emit.method("transpose", emit.lane_major(x), lane_axis(one), lane_axis(other)))


@lane_rule(aten.t.default, aten.numpy_T.default, aten.mT.default, aten.adjoint.default)
def reverse_lanes(emit: Emitter, op: OpOverload, x: Value) -> Value | None:
    """Exact: a view of each lane."""
    if x.ndim > 2 and op is aten.numpy_T.default or x.ndim < 2:
        return x if x.ndim < 2 else None
    return emit.in_lanes(emit.method("transpose", emit.lane_major(x), -2, -1))


@lane_rule(aten.expand.default)
def expand_lanes(emit: Emitter, op: OpOverload, x: Value, size: Sequence[int], implicit: bool) -> Value:
    """Exact: a view of each lane."""
    shape = tuple(emit.example.shape)
    return emit.in_lanes(emit.method("expand", emit.broadcastable(x, len(shape)), emit.lanes, *shape))


@lane_rule(aten.expand_as.default, aten.broadcast_to.default)
def expand_as_lanes(emit: Emitter, op: OpOverload, x: Value, other: Value | Sequence[int]) -> Value:
    """Exact: a view of each lane."""
    return expand_lanes(emit, op, x, (), False)


@lane_rule(aten.broadcast_tensors.default)
def broadcast_tensors_lanes(emit: Emitter, op: OpOverload, tensors: Sequence[Value]) -> list[Value]:
    """Exact: views of each lane."""
    return [_broadcast_to(emit, x, example) for x, example in zip(tensors, emit.example, strict=True)]


def _broadcast_to(emit: Emitter, x: Value, example: torch.Tensor) -> Value:
    shape = tuple(example.shape)
    if shape == x.shape:
        return Value(example, dict(x.forms))
    lanes = () if x.is_shared else (emit.lanes,)
    node = emit.method("expand", emit.broadcastable(x, len(shape)), *lanes, *shape)
    return Value(example, {Layout.SHARED if x.is_shared else Layout.LANES: node})


@lane_rule(aten.repeat.default)
def repeat_lanes(emit: Emitter, op: OpOverload, x: Value, repeats: Sequence[int]) -> Value:
    """Exact: copies of each lane beside each other."""
    return emit.in_lanes(emit.aten(op, (emit.broadcastable(x, len(repeats)), [1, *repeats])))


@lane_rule(aten.repeat_interleave.self_int)
def repeat_interleave_lanes(
    emit: Emitter, op: OpOverload, x: Value, repeats: int, axis: int | None, output_size: int | None
) -> Value | None:
    """Exact: along an axis of each lane, or along all elements of each lane in a row."""
    if x.ndim == 0:
        return None
    own = emit.lane_major(x) if axis is not None else emit.method("flatten", emit.lane_major(x), 1)
    return emit.in_lanes(emit.aten(op, (own, repeats, 1 if axis is None else lane_axis(axis), output_size)))


@lane_rule(aten.movedim.int, aten.moveaxis.int, aten.movedim.intlist, aten.moveaxis.intlist)
def movedim_lanes(
    emit: Emitter, op: OpOverload, x: Value, source: int | list[int], destination: int | list[int]
) -> Value:
    """Exact: a view of each lane."""
    moved = (lane_axis(axes) if isinstance(axes, int) else lane_axes(axes) for axes in (source, destination))
    return emit.in_lanes(emit.aten(op, (emit.lane_major(x), *moved)))


@lane_rule(aten.pixel_shuffle.default, aten.pixel_unshuffle.default)
def pixel_shuffle_lanes(emit: Emitter, op: OpOverload, x: Value, factor: int) -> Value | None:
    """Exact: the channels of a block are beside each other, so each lane's blocks stay its own."""
    return emit.in_channels(emit.aten(op, (emit.packed(x), factor))) if x.ndim == 4 else None


@lane_rule(aten.channel_shuffle.default)
def channel_shuffle_lanes(emit: Emitter, op: OpOverload, x: Value, groups: int) -> Value:
    """Exact: a sample's channels are shuffled among themselves, and lanes are more samples."""
    merged = emit.method("flatten", emit.lane_major(x), 0, 1)
    return emit.in_lanes(emit.method("unflatten", emit.aten(op, (merged, groups)), 0, (emit.lanes, -1)))


@lane_rule(aten.unfold.default)
def unfold_lanes(emit: Emitter, op: OpOverload, x: Value, axis: int, size: int, step: int) -> Value | None:
    """Exact: windows over an axis of each lane."""
    return emit.in_lanes(emit.aten(op, (emit.lane_major(x), lane_axis(axis), size, step))) if x.ndim else None


@lane_rule(aten.diagonal.default)
def diagonal_lanes(emit: Emitter, op: OpOverload, x: Value, offset: int, one: int, other: int) -> Value:
    """Exact: a view of each lane."""
    return emit.in_lanes(emit.aten(op, (emit.lane_major(x), offset, lane_axis(one), lane_axis(other))))
