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


@dimension_rule(aten.one_hot.default)
def one_hot(call: Call) -> Dims:
    """A place for each class, which is no width."""
    return (*call.dims("self"), call.new(call.shape[-1], pinned=True))


@lane_rule(aten.embedding.default)
def embedding_lanes(
    emit: Emitter, op: OpOverload, weight: Value, indices: Value, padding: int, by_frequency: bool, sparse: bool
) -> Value | None:
    """Exact: the lanes' tables lie one after the other, and each lane's indices point into its own."""
    if sparse:
        return None
    if weight.is_shared:
        table, own = emit.shared(weight), emit.lane_major(indices)
        return emit.in_lanes(emit.aten(op, (table, own, padding, by_frequency, sparse)))
    return emit.in_lanes(
        emit.call(
            grouped.embedding,
            emit.shared(indices) if indices.is_shared else emit.lane_major(indices),
            emit.lane_major(weight),
            shared_indices=indices.is_shared,
            padding_index=padding,
            scale_grad_by_freq=by_frequency,
        )
    )
