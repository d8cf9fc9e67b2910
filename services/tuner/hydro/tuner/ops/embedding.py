"""Look-ups: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

import torch

from hydro.tuner.ops.registry import dimension_rule
from hydro.tuner.shrinking.dimensions import Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(aten.embedding.default)
def embedding(call: Call) -> Dims:
    """A row for each symbol: the vocabulary is no width."""
    weight = call.dims("weight")
    call.pin(weight[0])
    return (*call.dims("indices"), weight[1])
