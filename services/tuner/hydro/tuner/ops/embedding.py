"""Look-ups: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

import torch
from torch._ops import OpOverload

from hydro.nn import functional as grouped
from hydro.tuner.fusion.emitter import Emitter
from hydro.tuner.fusion.layout import Value
from hydro.tuner.ops.registry import dimension_rule, lane_rule
from hydro.tuner.shrinking.dimensions import Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(aten.embedding.default)
def embedding(call: Call) -> Dims:
    """A row for each symbol: the vocabulary is no width."""
    weight = call.dims("weight")
    call.pin(weight[0])
    return (*call.dims("indices"), weight[1])


@lane_rule(aten.embedding.default)
def embedding_lanes(
    emit: Emitter, op: OpOverload, weight: Value, indices: Value, padding: int, by_frequency: bool, sparse: bool
) -> Value | None:
    """Exact: the lanes' tables lie one after the other, and each lane's indices point into its own."""
    if weight.is_shared or by_frequency or sparse or padding >= 0:
        return None
    own = emit.shared(indices) if indices.is_shared else emit.lane_major(indices)
    table = emit.lane_major(weight)
    return emit.in_lanes(emit.call(grouped.embedding, own, table, shared_indices=indices.is_shared))
