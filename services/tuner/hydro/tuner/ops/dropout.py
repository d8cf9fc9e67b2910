"""Dropout: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

import torch
from torch._ops import OpOverload

from hydro.nn import drawing
from hydro.nn import functional as grouped
from hydro.tuner.fusion.emitter import Emitter
from hydro.tuner.fusion.layout import Value
from hydro.tuner.ops.registry import dimension_rule, lane_rule, takes_numbers
from hydro.tuner.shrinking.dimensions import Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(
    aten.dropout.default, aten.dropout_.default, aten.alpha_dropout.default,
    aten.feature_dropout.default, aten.feature_alpha_dropout.default,
)  # fmt: skip
def dropout(call: Call) -> Dims:
    """Changes no dimension."""
    return call.dims_of(call.operands()[0])


@takes_numbers
@lane_rule(aten.dropout.default)
def dropout_lanes(emit: Emitter, op: OpOverload, x: Value, p: float | Value, train: bool) -> Value | None:
    """Exact: every lane draws its own mask from its own stream, as the model alone would."""
    if not train or (not isinstance(p, Value) and p == 0):
        return x
    probability = emit.lane_major(p) if isinstance(p, Value) else p
    # Noise is as torch.empty_like makes it: with the input's strides where they leave no holes.
    noise = torch.empty_like(x.example)
    strides = None if noise.is_contiguous() else tuple(noise.stride())
    return emit.in_lanes(emit.call(grouped.dropout, emit.lane_major(x), probability, emit.generators, strides))


@takes_numbers
@lane_rule(aten.bernoulli.p)
def bernoulli_lanes(emit: Emitter, op: OpOverload, x: Value, p: float | Value, generator: None) -> Value | None:
    """Exact: every lane draws from its own stream, as the model alone would; of `x` only the shape counts."""
    if not x.example.is_contiguous() or generator is not None:
        return None
    probability = emit.lane_major(p) if isinstance(p, Value) else p
    example = emit.example
    return emit.in_lanes(
        emit.call(drawing.bernoulli, x.shape, emit.lanes, probability, emit.generators, example.dtype, example.device)
    )


@takes_numbers
@lane_rule(aten.feature_dropout.default)
def feature_dropout_lanes(emit: Emitter, op: OpOverload, x: Value, p: float | Value, train: bool) -> Value | None:
    """Exact: every lane draws its own channels from its own stream."""
    if not train or (not isinstance(p, Value) and p == 0):
        return x
    if x.ndim < 2:
        return None
    probability = emit.lane_major(p) if isinstance(p, Value) else p
    return emit.in_lanes(emit.call(drawing.feature_dropout, emit.lane_major(x), probability, emit.generators))


@takes_numbers
@lane_rule(aten.alpha_dropout.default, aten.feature_alpha_dropout.default)
def alpha_dropout_lanes(emit: Emitter, op: OpOverload, x: Value, p: float | Value, train: bool) -> Value | None:
    """Exact: every lane draws its own mask from its own stream."""
    if not train or (not isinstance(p, Value) and p == 0):
        return x
    features = op is aten.feature_alpha_dropout.default
    if not x.example.is_contiguous() or (features and x.ndim < 2):
        return None
    probability = emit.lane_major(p) if isinstance(p, Value) else p
    return emit.in_lanes(
        emit.call(drawing.alpha_dropout, emit.lane_major(x), probability, emit.generators, whole_channels=features)
    )
