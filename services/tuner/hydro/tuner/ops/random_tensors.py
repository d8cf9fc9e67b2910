"""Tensors of random numbers: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

from typing import Any

import torch
from torch._ops import OpOverload

from hydro.nn import drawing
from hydro.tuner.fusion.emitter import Emitter
from hydro.tuner.fusion.layout import Value
from hydro.tuner.ops.registry import dimension_rule, lane_rule
from hydro.tuner.shrinking.dimensions import Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(
    aten.bernoulli.p, aten.bernoulli.default, aten.normal_functional.default, aten.uniform.default,
    aten.uniform_.default, aten.normal_.default, aten.bernoulli_.float,
)  # fmt: skip
def drawn_like(call: Call) -> Dims:
    """As many numbers as there were."""
    return call.dims("self")


@lane_rule(
    aten.rand.default, aten.randn.default, aten.rand_like.default, aten.randn_like.default, aten.uniform.default,
    aten.normal_functional.default,
)  # fmt: skip
def random_lanes(emit: Emitter, op: OpOverload, first: Any, *rest: Any) -> Value | None:
    """Exact: every lane draws from its own stream, as the model alone would; of a tensor only the shape counts."""
    example, is_filled = emit.example, op in (aten.uniform.default, aten.normal_functional.default)
    source = first.example if isinstance(first, Value) else example
    if not source.is_contiguous() or not example.is_contiguous() or (is_filled and rest[2] is not None):
        return None
    is_normal = op in (aten.randn.default, aten.randn_like.default, aten.normal_functional.default)
    numbers = tuple(rest[:2]) if is_filled else (0.0, 1.0)
    draw = drawing.normal if is_normal else drawing.uniform
    shape = tuple(example.shape)
    return emit.in_lanes(emit.call(draw, shape, emit.lanes, *numbers, emit.generators, example.dtype, example.device))
