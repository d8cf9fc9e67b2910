"""Pooling: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

from typing import Any

import torch
from torch._ops import OpOverload

from hydro.tuner.fusion.emitter import Emitter
from hydro.tuner.fusion.layout import Value, channels_innermost
from hydro.tuner.ops.registry import dimension_rule, lane_rule
from hydro.tuner.shrinking.dimensions import Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(
    aten.max_pool1d.default, aten.avg_pool1d.default, aten.adaptive_avg_pool1d.default,
)  # fmt: skip
def pool_1d(call: Call) -> Dims:
    """Pools over the last axis."""
    return _pool(call, 1)


@dimension_rule(
    aten.max_pool2d.default, aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default,
    aten.upsample_nearest2d.default, aten.upsample_nearest2d.vec, aten.upsample_bilinear2d.vec,
)  # fmt: skip
def pool_2d(call: Call) -> Dims:
    """Pools or resizes over the last two axes."""
    return _pool(call, 2)


@dimension_rule(aten.max_pool3d.default, aten.avg_pool3d.default, aten.adaptive_avg_pool3d.default)
def pool_3d(call: Call) -> Dims:
    """Pools over the last three axes."""
    return _pool(call, 3)


@dimension_rule(aten.adaptive_max_pool2d.default, aten.max_pool2d_with_indices.default)
def pool_2d_with_indices(call: Call) -> tuple[Dims, ...]:
    """The pooled values and where they were."""
    inputs = call.dims("self")
    call.pin(*inputs[-2:])
    pooled = (*inputs[:-2], *(call.new(size, pinned=True) for size in call.shapes[0][-2:]))
    return pooled, pooled


def _pool(call: Call, spatial: int) -> Dims:
    inputs = call.dims_of(call.operands()[0])
    call.pin(*inputs[-spatial:])
    return (*inputs[:-spatial], *(call.new(size, pinned=True) for size in call.shape[-spatial:]))


@lane_rule(
    aten.max_pool1d.default, aten.avg_pool1d.default, aten.adaptive_avg_pool1d.default,
    aten.max_pool2d.default, aten.avg_pool2d.default, aten.adaptive_avg_pool2d.default,
    aten.max_pool3d.default, aten.avg_pool3d.default, aten.adaptive_avg_pool3d.default,
    aten.upsample_nearest2d.vec, aten.upsample_bilinear2d.vec,
)  # fmt: skip
def pool_lanes(emit: Emitter, op: OpOverload, x: Value, *rest: Any) -> Value | None:
    """Exact: each channel is pooled by itself, and lanes are more channels."""
    if x.ndim < 3 or len(emit.example.shape) != x.ndim or emit.example.shape[:2] != x.example.shape[:2]:
        return None
    return emit.in_channels(emit.aten(op, (emit.call(channels_innermost, emit.packed(x)), *rest)))
