"""Dropout: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

import torch

from hydro.tuner.ops.registry import dimension_rule
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
