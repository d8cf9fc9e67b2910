"""Elements picked by index or put in place: what it does to dimensions, and how it runs over lanes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._ops import OpOverload

from hydro.tuner.fusion.emitter import Emitter, lane_axis
from hydro.tuner.fusion.layout import Value
from hydro.tuner.ops.registry import dimension_rule, lane_rule
from hydro.tuner.shrinking.dimensions import DimensionMismatch, Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(aten.index.Tensor)
def index(call: Call) -> Dims:
    """Indices in one axis, which keeps its size; other axes are untouched."""
    inputs = call.dims("self")
    given = [axis for axis, each in enumerate(call["indices"]) if each is not None]
    if len(given) != 1:
        raise DimensionMismatch("indices in several axes")
    call.pin(inputs[given[0]])
    return (*inputs[: given[0]], *call.dims_of(call["indices"][given[0]]), *inputs[given[0] + 1 :])


@dimension_rule(aten.index_select.default)
def index_select(call: Call) -> Dims:
    """Indices in one axis, which keeps its size."""
    inputs = call.dims("self")
    axis = call.axis("dim", len(inputs))
    call.pin(inputs[axis])
    return (*inputs[:axis], call.dims("index")[0], *inputs[axis + 1 :])


@lane_rule(aten.index.Tensor)
def index_lanes(emit: Emitter, op: OpOverload, x: Value, indices: Sequence[Value | None]) -> Value | None:
    """Exact: each lane's indices pick from that lane."""
    places = [axis for axis, each in enumerate(indices) if each is not None]
    given = [each for each in indices if each is not None]
    if places != list(range(places[0], places[0] + len(places))) or any(not _counts(each) for each in given):
        return None
    if all(each.is_shared for each in given):
        own = [None if each is None else emit.shared(each) for each in indices]
        return emit.in_lanes(emit.call(op, emit.lane_major(x), [None, *own]))
    if places[0] != 0:
        return None
    ndim = max(each.ndim for each in given)
    forms = [emit.broadcastable(each, ndim) for each in given]
    if x.is_shared:
        return emit.in_lanes(emit.call(op, emit.shared(x), forms))
    lane_numbers = emit.call(_lane_numbers, emit.lane_major(x), ndim)
    return emit.in_lanes(emit.call(op, emit.lane_major(x), [lane_numbers, *forms]))


def _counts(index: Value) -> bool:
    return index.example.dtype not in (torch.bool, torch.uint8)


def _lane_numbers(x: torch.Tensor, ndim: int) -> torch.Tensor:
    return torch.arange(len(x), device=x.device).view(-1, *(1,) * ndim)


@lane_rule(aten.index_select.default)
def index_select_lanes(emit: Emitter, op: OpOverload, x: Value, axis: int, index: Value) -> Value | None:
    """Exact: the same places in every lane."""
    if not index.is_shared or x.ndim == 0:
        return None
    return emit.in_lanes(emit.aten(op, (emit.lane_major(x), lane_axis(axis), emit.shared(index))))


@lane_rule(aten.gather.default)
def gather_lanes(
    emit: Emitter, op: OpOverload, x: Value, axis: int, index: Value, sparse_gradient: bool
) -> Value | None:
    """Exact: each lane's indices pick from that lane."""
    if x.ndim == 0 or x.ndim != index.ndim:
        return None
    return emit.in_lanes(emit.aten(op, (emit.lane_major(x), lane_axis(axis), emit.lane_major(index), sparse_gradient)))


@lane_rule(aten.slice_scatter.default, aten.select_scatter.default)
def scatter_lanes(emit: Emitter, op: OpOverload, x: Value, part: Value, axis: int, *rest: Any) -> Value:
    """Exact: a part of each lane replaced by that lane's."""
    return emit.in_lanes(emit.aten(op, (emit.lane_major(x), emit.lane_major(part), lane_axis(axis), *rest)))
