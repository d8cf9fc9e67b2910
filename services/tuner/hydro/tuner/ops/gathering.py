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
from hydro.tuner.shrinking.propagation import Call, broadcast_dims

aten = torch.ops.aten


@dimension_rule(aten.index.Tensor)
def index(call: Call) -> Dims:
    """Indices into axes, which keep their size; other axes are untouched. Axes apart are gathered in front."""
    inputs = call.dims("self")
    given = [axis for axis, each in enumerate(call["indices"]) if each is not None]
    indices = [call["indices"][axis] for axis in given]
    if any(each.meta["val"].dtype in (torch.bool, torch.uint8) for each in indices):
        raise DimensionMismatch("a mask among the indices, which picks as many as it likes")
    call.pin(*(inputs[axis] for axis in given))
    rest = [dim for axis, dim in enumerate(inputs) if axis not in given]
    place = given[0] if given == list(range(given[0], given[-1] + 1)) else 0
    return (*rest[:place], *broadcast_dims(call, *(call.dims_of(each) for each in indices)), *rest[place:])


@dimension_rule(aten.index_select.default)
def index_select(call: Call) -> Dims:
    """Indices in one axis, which keeps its size."""
    inputs = call.dims("self")
    axis = call.axis("dim", len(inputs))
    call.pin(inputs[axis])
    return (*inputs[:axis], call.dims("index")[0], *inputs[axis + 1 :])


@dimension_rule(aten.gather.default, aten.take_along_dim.default)
def gather(call: Call) -> Dims:
    """Indices along one axis, which keeps its size; there is one for each element of the others."""
    inputs, indices = call.dims("self"), call.dims("indices" if "indices" in call.arguments else "index")
    if call["dim"] is None or len(indices) != len(inputs):
        raise DimensionMismatch("indices into the flattened tensor")
    _pick(call, inputs, indices, call.axis("dim", len(inputs)))
    return indices


@dimension_rule(
    aten.scatter.src, aten.scatter.value, aten.scatter.reduce, aten.scatter.value_reduce, aten.scatter_add.default,
    aten.scatter_reduce.two, aten.scatter_.src, aten.scatter_.value, aten.scatter_add_.default,
)  # fmt: skip
def scatter(call: Call) -> Dims:
    """Indices along one axis, which keeps its size."""
    inputs, indices = call.dims("self"), call.dims("index")
    _pick(call, inputs, indices, call.axis("dim", len(inputs)))
    if "src" in call.arguments:
        for dim, other in zip(call.dims("src"), indices, strict=True):
            if call.size(dim) == call.size(other):
                call.unify(dim, other)
            else:
                call.pin(dim, other)
    return inputs


@dimension_rule(
    aten.index_add.default, aten.index_copy.default, aten.index_add_.default, aten.index_copy_.default,
)  # fmt: skip
def index_add(call: Call) -> Dims:
    """Slices of another tensor at places of one axis, which keeps its size."""
    inputs, source = call.dims("self"), call.dims("source")
    axis = call.axis("dim", len(inputs))
    call.pin(inputs[axis], source[axis])
    for place, (dim, other) in enumerate(zip(inputs, source, strict=True)):
        if place != axis:
            call.unify(dim, other)
    return inputs


@dimension_rule(aten.index_fill.int_Scalar)
def index_fill(call: Call) -> Dims:
    """Indices in one axis, which keeps its size."""
    inputs = call.dims("self")
    call.pin(inputs[call.axis("dim", len(inputs))])
    return inputs


@dimension_rule(aten.index_put.default, aten.index_put_.default)
def index_put(call: Call) -> Dims:
    """Values at indices of the first axes, which keep their size; the others are the values' own."""
    inputs, values = call.dims("self"), call.dims("values")
    given = [axis for axis, each in enumerate(call["indices"]) if each is not None]
    if given != list(range(len(given))):
        raise DimensionMismatch("indices in axes behind others")
    call.pin(*inputs[: len(given)])
    rest = inputs[len(given) :]
    for dim, other in zip(reversed(rest), reversed(values), strict=False):
        if call.size(other) != 1:
            call.unify(dim, other)
    return inputs


def _pick(call: Call, inputs: Dims, indices: Dims, axis: int) -> None:
    call.pin(inputs[axis], indices[axis])
    for place, (dim, other) in enumerate(zip(inputs, indices, strict=True)):
        if place != axis and call.size(dim) == call.size(other):
            call.unify(dim, other)
        elif place != axis:
            call.pin(dim, other)


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


@lane_rule(aten.take_along_dim.default)
def take_along_lanes(emit: Emitter, op: OpOverload, x: Value, index: Value, axis: int | None) -> Value | None:
    """Exact: each lane's elements by each lane's index, which broadcast."""
    if axis is None or 0 in (x.ndim, index.ndim):
        return None
    return emit.in_lanes(emit.aten(op, (emit.lane_major(x), emit.lane_major(index), lane_axis(axis))))


@lane_rule(
    aten.scatter.src, aten.scatter.value, aten.scatter.value_reduce, aten.scatter_add.default,
    aten.scatter_reduce.two,
)  # fmt: skip
def scatter_by_index_lanes(
    emit: Emitter, op: OpOverload, x: Value, axis: int, index: Value, source: Any, *rest: Any
) -> Value | None:
    """Exact: into each lane's own tensor."""
    if 0 in (x.ndim, index.ndim):
        return None
    own_source = emit.lane_major(source) if isinstance(source, Value) else source
    own = (emit.lane_major(x), lane_axis(axis), emit.lane_major(index), own_source)
    return emit.in_lanes(emit.aten(op, (*own, *rest)))


@lane_rule(aten.index_add.default, aten.index_copy.default)
def index_add_lanes(
    emit: Emitter, op: OpOverload, x: Value, axis: int, index: Value, source: Value, *rest: Any
) -> Value | None:
    """Exact: at the same places of every lane."""
    if not index.is_shared or 0 in (x.ndim, index.ndim, source.ndim):
        return None
    own = (emit.lane_major(x), lane_axis(axis), emit.shared(index), emit.lane_major(source))
    return emit.in_lanes(emit.aten(op, (*own, *rest)))


@lane_rule(aten.index_fill.int_Scalar)
def index_fill_lanes(emit: Emitter, op: OpOverload, x: Value, axis: int, index: Value, number: float) -> Value | None:
    """Exact: at the same places of every lane."""
    if not index.is_shared or 0 in (x.ndim, index.ndim):
        return None
    return emit.in_lanes(emit.aten(op, (emit.lane_major(x), lane_axis(axis), emit.shared(index), number)))


@lane_rule(aten.index_put.default)
def index_put_lanes(
    emit: Emitter, op: OpOverload, x: Value, indices: Sequence[Value | None], values: Value, accumulate: bool
) -> Value | None:
    """Exact: into each lane's own tensor; indices as in `index`."""
    given = [each for each in indices if each is not None]
    if any(each is None for each in indices[: len(given)]) or not all(_counts(each) for each in given):
        return None
    index_ndim = max(each.ndim for each in given)
    own_x, ndim = emit.lane_major(x), index_ndim + x.ndim - len(given)
    own = [emit.call(_lane_numbers, own_x, index_ndim), *(emit.broadcastable(each, index_ndim) for each in given)]
    put = emit.broadcastable(values, ndim)
    return emit.in_lanes(emit.call(op, own_x, own, put, accumulate))


@lane_rule(aten.one_hot.default)
def one_hot_lanes(emit: Emitter, op: OpOverload, x: Value, classes: int) -> Value | None:
    """Exact: element by element, with the number of classes given."""
    return emit.in_lanes(emit.aten(op, (emit.lane_major(x), classes))) if classes > 0 else None
