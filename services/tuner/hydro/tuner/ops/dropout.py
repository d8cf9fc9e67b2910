"""Dropout: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

import torch
from torch._ops import OpOverload

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
    strides = None if x.example.is_contiguous() else tuple(x.example.stride())
    return emit.in_lanes(emit.call(grouped.dropout, emit.lane_major(x), probability, emit.generators, strides))
