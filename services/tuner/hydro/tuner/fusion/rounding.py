"""A type narrower than the model's: what rounds by its place in a bundle is computed as the model alone does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from hydro.tuner.fusion.layout import Value

aten = torch.ops.aten

_PRODUCTS = {
    aten.linear.default, aten.matmul.default, aten.bmm.default, aten.mm.default, aten.addmm.default,
    aten.baddbmm.default, aten.einsum.default, aten.conv1d.default, aten.conv2d.default,
}  # fmt: skip
_SERIES = {
    aten.sigmoid.default, aten.tanh.default, aten.exp.default, aten.log.default, aten.log1p.default,
    aten.softplus.default, aten.silu.default, aten.gelu.default, aten.erf.default, aten.pow.Tensor_Scalar,
    aten.pow.Tensor_Tensor, aten.pow.Scalar, aten.log_sigmoid.default,
}  # fmt: skip


def rounds_by_place(op: OpOverload, args: Sequence[Any], values: Sequence[Value], output: Any) -> bool:
    """Whether an op of a float64 model computes in a narrower type what depends, in its last bits, on a lane's place.

    Sums over samples do, a loss or a product, by their order; and functions that torch computes otherwise for the last
    few elements than for whole vectors of them. It would be 1e-8 where models are compared at 1e-10, so lanes run one
    after the other.
    """
    if not isinstance(output, Tensor) or output.dtype in (torch.float64, torch.complex128):
        return False
    if output.dtype.is_complex:
        return op is aten.mul.Tensor
    if not output.dtype.is_floating_point:
        return False
    if output.ndim == 0:
        return any(value.ndim > 0 for value in values)
    is_square = op is aten.pow.Tensor_Scalar and args[1] == 2
    return op in _PRODUCTS or (op in _SERIES and not is_square)


def narrows(output: Any, args: Sequence[Any]) -> bool:
    """Whether an op gives its first argument in a narrower type.

    Two of them are not one: the gradients of their uses meet in the wider type.
    """
    first = next((each for each in args if isinstance(each, Value)), None)
    if first is None or not isinstance(output, Tensor) or not output.dtype.is_floating_point:
        return False
    return first.example.dtype.is_floating_point and output.dtype.itemsize < first.example.dtype.itemsize
