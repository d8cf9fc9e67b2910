"""Pooling: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from hydro.nn.whole_vectors import in_whole_channels
from hydro.tuner.fusion.emitter import Emitter
from hydro.tuner.fusion.layout import Layout, Value, channels_innermost
from hydro.tuner.ops.registry import dimension_rule, lane_rule
from hydro.tuner.shrinking.dimensions import Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(
    aten.max_pool1d.default, aten.avg_pool1d.default, aten.adaptive_avg_pool1d.default,
    aten.upsample_linear1d.vec, aten.upsample_nearest1d.vec, aten._upsample_nearest_exact1d.vec,
)  # fmt: skip
def pool_1d(call: Call) -> Dims:
    """Pools over the last axis."""
    return _pool(call, 1)


@dimension_rule(
    aten.max_pool2d.default, aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default,
    aten.upsample_nearest2d.default, aten.upsample_nearest2d.vec, aten.upsample_bilinear2d.vec,
    aten.upsample_bilinear2d.default, aten.upsample_bicubic2d.vec, aten._upsample_nearest_exact2d.vec,
)  # fmt: skip
def pool_2d(call: Call) -> Dims:
    """Pools or resizes over the last two axes."""
    return _pool(call, 2)


@dimension_rule(
    aten.max_pool3d.default, aten.avg_pool3d.default, aten.adaptive_avg_pool3d.default,
    aten.upsample_trilinear3d.vec, aten.upsample_nearest3d.vec, aten._upsample_nearest_exact3d.vec,
)  # fmt: skip
def pool_3d(call: Call) -> Dims:
    """Pools over the last three axes."""
    return _pool(call, 3)


@dimension_rule(aten.adaptive_max_pool1d.default, aten.max_pool1d_with_indices.default)
def pool_1d_with_indices(call: Call) -> tuple[Dims, ...]:
    """The pooled values over the last axis and where they were."""
    return (_pool(call, 1),) * 2


@dimension_rule(aten.adaptive_max_pool2d.default, aten.max_pool2d_with_indices.default)
def pool_2d_with_indices(call: Call) -> tuple[Dims, ...]:
    """The pooled values over the last two axes and where they were."""
    return (_pool(call, 2),) * 2


@dimension_rule(aten.adaptive_max_pool3d.default, aten.max_pool3d_with_indices.default)
def pool_3d_with_indices(call: Call) -> tuple[Dims, ...]:
    """The pooled values over the last three axes and where they were."""
    return (_pool(call, 3),) * 2


@dimension_rule(aten.grid_sampler.default)
def grid_sampler(call: Call) -> Dims:
    """Space is read at a grid's places."""
    inputs, grid = call.dims("input"), call.dims("grid")
    call.pin(*inputs[2:], *grid)
    return (*inputs[:2], *grid[1:-1])


def _pool(call: Call, spatial: int) -> Dims:
    inputs = call.dims_of(call.operands()[0])
    pooled = call.node.meta["val"]
    shape = (pooled if isinstance(pooled, Tensor) else pooled[0]).shape
    dims = list(inputs)
    for axis in range(-spatial, 0):
        if not _leaves(call, axis, spatial):
            call.pin(inputs[axis])
            dims[axis] = call.new(int(shape[axis]), pinned=True)
    return tuple(dims)


def _leaves(call: Call, axis: int, spatial: int) -> bool:
    """Windows of one place, each next to the other: nothing happens along the axis."""
    kernel, stride, padding = (call.arguments.get(name) for name in ("kernel_size", "stride", "padding"))
    if kernel is None or padding is None:
        return False
    places = [list(each or kernel) for each in (kernel, stride, padding)]
    return all(len(each) == spatial for each in places) and [each[axis] for each in places] == [1, 1, 0]


@lane_rule(
    aten.max_pool1d.default, aten.avg_pool1d.default, aten.adaptive_avg_pool1d.default,
    aten.max_pool2d.default, aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default,
    aten.max_pool3d.default, aten.avg_pool3d.default, aten.adaptive_avg_pool3d.default,
    aten.upsample_nearest1d.vec, aten.upsample_nearest2d.vec, aten.upsample_nearest3d.vec, aten.upsample_linear1d.vec,
    aten.upsample_bilinear2d.vec, aten.upsample_bicubic2d.vec, aten.upsample_trilinear3d.vec,
    aten._upsample_nearest_exact1d.vec, aten._upsample_nearest_exact2d.vec, aten._upsample_nearest_exact3d.vec,
    aten.upsample_nearest2d.default, aten.upsample_bilinear2d.default,
)  # fmt: skip
def pool_lanes(emit: Emitter, op: OpOverload, x: Value, *rest: Any) -> Value | None:
    """Exact: each channel is pooled by itself, and lanes are more channels."""
    if x.ndim < 3 or len(emit.example.shape) != x.ndim or emit.example.shape[:2] != x.example.shape[:2]:
        return None
    if op is aten.adaptive_avg_pool2d.default and emit.example.shape[2:].numel() == 1:
        return emit.in_channels(emit.call(mean_of_plane, emit.packed(x)))
    image = emit.call(channels_innermost, emit.packed(x))
    if op in (aten.upsample_bilinear2d.vec, aten.upsample_bilinear2d.default):
        return emit.in_channels(emit.call(in_whole_channels, op, image, *rest))
    return emit.in_channels(emit.aten(op, (image, *rest)))


def mean_of_plane(x_NCHW: Tensor) -> Tensor:
    """Gives the means [N, C, 1, 1], on a CPU with torch's bits for planes in rows; its gradient divides, then spreads.

    Torch's own gradient fills the plane twice over, in a memory format that what comes before then has to convert.
    Planes lie in rows: channels beside each other are summed in orders that depend on their place.
    """
    rows = x_NCHW.contiguous()
    if x_NCHW.device.type != "cpu" or x_NCHW.dtype not in (torch.float32, torch.float64):
        return rows.mean((2, 3), keepdim=True)
    return rows.sum((2, 3), keepdim=True) / rows.shape[2:].numel()


@lane_rule(
    aten.max_pool1d_with_indices.default, aten.max_pool2d_with_indices.default, aten.max_pool3d_with_indices.default,
    aten.adaptive_max_pool1d.default, aten.adaptive_max_pool2d.default, aten.adaptive_max_pool3d.default,
)  # fmt: skip
def pool_with_indices_lanes(emit: Emitter, op: OpOverload, x: Value, *rest: Any) -> list[Value] | None:
    """Exact: each channel is pooled by itself, and indices count within its own plane."""
    if len(emit.example[0].shape) != x.ndim or not _has_batch(op, x):
        return None
    return emit.several(emit.aten(op, (emit.packed(x), *rest)), Layout.PACKED)


def _has_batch(op: OpOverload, x: Value) -> bool:
    return x.ndim == 2 + next(int(letter) for letter in op._schema.name.split("pool")[1] if letter.isdigit())


@lane_rule(aten.im2col.default, aten.col2im.default)
def columns_lanes(emit: Emitter, op: OpOverload, x: Value, *rest: Any) -> Value | None:
    """Exact: a channel's windows are beside each other, so each lane's channels stay its own."""
    has_batch = x.ndim == (4 if op is aten.im2col.default else 3)
    return emit.in_channels(emit.aten(op, (emit.packed(x), *rest))) if has_batch else None


@lane_rule(aten.grid_sampler.default)
def grid_sampler_lanes(
    emit: Emitter, op: OpOverload, x: Value, grid: Value, interpolation: int, padding: int, align_corners: bool
) -> Value:
    """Exact: a sample is read by itself, and lanes are more samples."""
    images, places = (emit.method("flatten", emit.lane_major(value), 0, 1) for value in (x, grid))
    if padding == _REFLECTION:
        places = emit.call(_finite_places, places)
    sampled = emit.aten(op, (images, places, interpolation, padding, align_corners))
    return emit.in_lanes(emit.method("unflatten", sampled, 0, (emit.lanes, -1)))


_REFLECTION = 2


def _finite_places(grid: Tensor) -> Tensor:
    """Gives -1 for NaN, as torch's documentation has it; its kernel reads out of bounds, which would end all lanes."""
    return grid.masked_fill(~grid.isfinite(), -1)
