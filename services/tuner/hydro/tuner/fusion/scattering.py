"""The inverse of a view: the tensor it is a view of, with the part that the view shows replaced."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch._ops import OpOverload
from torch.fx import Node

from hydro.tuner.ops.registry import bind

aten = torch.ops.aten

Written = tuple[OpOverload, tuple[Any, ...]]
"""An op and its arguments."""


def scatter(view: Node, origin: Node, value: Node) -> Written | None:
    """Gives the call that computes `origin` with `value` in the place that `view` shows; None where there is none."""
    if view.target is operator.getitem:
        return _scatter_part(view, origin, value)
    if not isinstance(view.target, OpOverload):
        return None
    given = bind(view)
    if view.target in _SAME_ORDER:
        return aten.reshape.default, (value, list(origin.meta["val"].shape))
    match view.target:
        case aten.slice.Tensor:
            return aten.slice_scatter.default, (
                origin, value, given["dim"], given["start"], given["end"], given["step"],
            )  # fmt: skip
        case aten.narrow.default:
            end = given["start"] + given["length"]
            return aten.slice_scatter.default, (origin, value, given["dim"], given["start"], end)
        case aten.select.int:
            return aten.select_scatter.default, (origin, value, given["dim"], given["index"])
        case aten.diagonal.default:
            return aten.diagonal_scatter.default, (origin, value, given["offset"], given["dim1"], given["dim2"])
        case aten.permute.default:
            ndim = len(given["dims"])
            order = sorted(range(ndim), key=lambda axis: given["dims"][axis] % ndim)
            return aten.permute.default, (value, order)
        case aten.transpose.int:
            return aten.transpose.int, (value, given["dim0"], given["dim1"])
        case aten.t.default | aten.mT.default | aten.numpy_T.default:
            return view.target, (value,)
    return None


def _scatter_part(view: Node, origin: Node, value: Node) -> Written | None:
    """One of the parts that a split or an unbind gives."""
    parts, index = view.args
    assert isinstance(parts, Node) and isinstance(index, int)
    given = bind(parts)
    axis = given.get("dim", 0)
    if parts.target is aten.unbind.int:
        return aten.select_scatter.default, (origin, value, axis, index)
    if parts.target not in _SPLITS:
        return None
    sizes = [part.shape[axis] for part in parts.meta["val"]]
    start = sum(sizes[:index])
    return aten.slice_scatter.default, (origin, value, axis, start, start + sizes[index])


_SPLITS = (aten.split.Tensor, aten.split.sizes, aten.split_with_sizes.default, aten.chunk.default)
DROPOUTS = (aten.dropout.default, aten.feature_dropout.default, aten.alpha_dropout.default)
_SAME_ORDER = (
    *DROPOUTS,
    aten.view.default, aten.reshape.default, aten._unsafe_view.default, aten.flatten.using_ints, aten.unflatten.int,
    aten.view_as.default, aten.reshape_as.default, aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims,
    aten.unsqueeze.default, aten.alias.default, aten.contiguous.default, aten.to.dtype, aten.to.device,
    aten.to.dtype_layout, aten.to.other, aten.type_as.default,
)  # fmt: skip
