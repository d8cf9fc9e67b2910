"""Reductions: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

import torch

from hydro.tuner.ops.registry import dimension_rule
from hydro.tuner.shrinking.dimensions import Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(aten.mean.dim, aten.var.correction, aten.std.correction, aten.var.dim, aten.std.dim)
def mean(call: Call) -> Dims:
    """Averages do not grow with the width: what they reduce may shrink."""
    return _reduce(call, call.axes("dim", len(call.dims("self"))), bool(call.arguments.get("keepdim", False)))


@dimension_rule(aten.mean.default, aten.var.default, aten.std.default)
def mean_of_all(call: Call) -> Dims:
    """The average of everything."""
    return ()


@dimension_rule(aten.sum.dim_IntList, aten.amax.default, aten.amin.default, aten.logsumexp.default)
def total(call: Call) -> Dims:
    """Sums grow with the width, so what they reduce keeps its size."""
    inputs = call.dims("self")
    axes = call.axes("dim", len(inputs))
    call.pin(*(inputs[axis] for axis in axes))
    return _reduce(call, axes, bool(call["keepdim"]))


@dimension_rule(aten.argmax.default, aten.argmin.default)
def arg_reduction(call: Call) -> Dims:
    """A position in an axis, which keeps its size."""
    inputs = call.dims("self")
    axes = call.axes("dim", len(inputs))
    call.pin(*(inputs[axis] for axis in axes))
    return _reduce(call, axes, bool(call["keepdim"]))


@dimension_rule(aten.sum.default, aten.max.default, aten.min.default)
def total_of_all(call: Call) -> Dims:
    """Everything in one number."""
    call.pin(*call.dims("self"))
    return ()


@dimension_rule(aten.softmax.int, aten.log_softmax.int, aten.cumsum.default)
def softmax(call: Call) -> Dims:
    """Shares of a whole get larger where there are fewer, so the axis keeps its size."""
    inputs = call.dims("self")
    call.pin(inputs[call.axis("dim", len(inputs))])
    return inputs


def _reduce(call: Call, axes: list[int], keep: bool) -> Dims:
    inputs = call.dims("self")
    return tuple(() if axis in axes else dim for axis, dim in enumerate(inputs) if keep or axis not in axes)
