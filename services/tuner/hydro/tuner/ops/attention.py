"""Attention: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

import torch
from torch._ops import OpOverload
from torch.fx import Node

from hydro.nn import functional as grouped
from hydro.tuner.fusion.emitter import Emitter
from hydro.tuner.fusion.layout import Value
from hydro.tuner.ops.registry import dimension_rule, lane_rule, takes_numbers
from hydro.tuner.shrinking.dimensions import Dim, Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(aten.scaled_dot_product_attention.default)
def scaled_dot_product_attention(call: Call) -> Dims:
    """Query [..., heads, L, D], key [..., heads, S, D], value [..., heads, S, E]; grouped queries share a key."""
    query, key, value = call.dims("query"), call.dims("key"), call.dims("value")
    call.unify(query[-1], key[-1])
    call.unify(key[-2], value[-2])
    for axis in range(len(query) - 2):
        _meet(call, query[axis], key[axis], value[axis])
    if call.is_given("attn_mask"):
        _fit(call, call.dims("attn_mask"), (*query[:-1], key[-2]))
    call.multiply_activations(query[-1], "scale")
    return (*query[:-1], value[-1])


def _meet(call: Call, query: Dim, key: Dim, value: Dim) -> None:
    call.unify(key, value)
    repeats = call.size(query) // max(call.size(key), 1)
    if repeats == 1:
        call.unify(query, key)
    elif call.size(key) > 1:
        shared, repeated = call.dimensions.divide(query, (call.size(key), repeats))
        call.unify(shared, key)
        call.pin(repeated)


def _fit(call: Call, mask: Dims, logits: Dims) -> None:
    for dim, other in zip(reversed(mask), reversed(logits), strict=False):
        if call.size(dim) != 1:
            call.unify(dim, other)


@takes_numbers
@lane_rule(aten.scaled_dot_product_attention.default)
def scaled_dot_product_attention_lanes(
    emit: Emitter, op: OpOverload, query: Value, key: Value, value: Value, mask: Value | None,
    dropout: float | Value, is_causal: bool, scale: float | None, gqa: bool,
) -> Value | None:  # fmt: skip
    """Exact: attention does not cross the batch, and lanes are merged into it; each lane drops from its own stream."""
    if isinstance(scale, Value) or query.ndim < 2 or not query.ndim == key.ndim == value.ndim:
        return None
    if query.ndim > 2 and len({each.shape[0] for each in (query, key, value)}) != 1:
        return None
    own = (emit.lane_major(each) for each in (query, key, value))
    probability = emit.lane_major(dropout) if isinstance(dropout, Value) else dropout
    drops = {} if probability == 0 else {"dropout_p": probability, "generators": emit.generators}
    own_mask = None if mask is None else _merged_mask(emit, mask, query)
    attend = grouped.scaled_dot_product_attention
    return emit.in_lanes(emit.call(attend, *own, own_mask, is_causal, scale, gqa, **drops))


def _merged_mask(emit: Emitter, mask: Value, query: Value) -> Node:
    """Gives the mask of the merged batch: as it is where it is the same for all samples of all lanes."""
    if mask.is_shared and (mask.ndim < query.ndim or mask.shape[0] == 1):
        return emit.shared(mask)
    if query.ndim == 2:
        return emit.lane_major(mask)
    samples = query.shape[0]
    per_lane = emit.lane_major(mask) if mask.is_shared else emit.broadcastable(mask, query.ndim)
    rest = mask.shape[1:] if mask.ndim == query.ndim else (1,) * (query.ndim - 1 - mask.ndim) + mask.shape
    return emit.method("flatten", emit.method("expand", per_lane, emit.lanes, samples, *rest), 0, 1)
