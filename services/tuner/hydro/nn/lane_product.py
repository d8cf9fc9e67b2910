"""Matrix products over lanes, in which a lane's bits depend on that lane alone.

One wide product for all lanes is not such: its size decides which kernel runs, and so the order of its sums. A batched
product is, on a CPU with one thread, with two cares. What the kernel does depends on where its operands lie, so lanes
must begin at like addresses: where a lane is no multiple of 64 bytes, it is copied to such places, in the one form of
the product whose result may lie anywhere. And a batch of one goes to a kernel for vectors where a matrix is one.

Legend: G lanes (or lanes and batch), N rows, K inner, M columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as plain

_ALIGNMENT_BYTES = 64
_SMALL = 400
"""Below so many multiplications torch has loops of its own, which know no addresses."""


def lane_product(left_GNK: Tensor, right_GKM: Tensor, bias_GM: Tensor | None = None) -> Tensor:
    """Multiplies lane by lane; the inner axes may lie in either order, and a lane stride of 0 shares an operand.

    Shape: gives [G, N, M], contiguous. No gradient flows through it: see `product`.
    """
    lanes, rows, inner = left_GNK.shape
    columns = right_GKM.shape[2]
    if not left_GNK.is_cpu or rows * inner * columns < _SMALL:
        return _torch_product(left_GNK, right_GKM, bias_GM)
    if lanes == 1 and min(rows, inner, columns) == 1:
        twice = (None if x is None else x.expand(2, *x.shape[1:]) for x in (left_GNK, right_GKM, bias_GM))
        return lane_product(*twice)[:1]  # type: ignore[arg-type]
    # The choice follows from one lane's shape alone, so that it is the same for any number of them.
    unit = _ALIGNMENT_BYTES // left_GNK.itemsize
    if rows * inner % unit == inner * columns % unit == rows * columns % unit == 0:
        return _torch_product(_beginning_alike(left_GNK), _beginning_alike(right_GKM), bias_GM)
    right_GMK = _aligned_rows(right_GKM.transpose(1, 2))
    return _torch_product(_aligned_rows(left_GNK), right_GMK.transpose(1, 2), bias_GM)


def _torch_product(left_GNK: Tensor, right_GKM: Tensor, bias_GM: Tensor | None = None) -> Tensor:
    if bias_GM is None:
        return torch.bmm(left_GNK, right_GKM)
    return torch.baddbmm(bias_GM.unsqueeze(1), left_GNK, right_GKM)


def _beginning_alike(x: Tensor) -> Tensor:
    """Gives [G, N, K] in its own order, lanes at multiples of 64 bytes from the first one."""
    lanes, rows, columns = x.shape
    lane, row, column = x.stride()
    if column == 1 and row >= columns:
        return x if lanes == 1 or lane * x.itemsize % _ALIGNMENT_BYTES == 0 else x.contiguous()
    if row == 1 and column >= rows:
        return _beginning_alike(x.transpose(1, 2)).transpose(1, 2)
    # Such a matrix torch would copy itself, one lane after the other.
    return _aligned_rows(x)


def _aligned_rows(x_GNK: Tensor) -> Tensor:
    """Copies to [N, K] in rows, each lane at a multiple of 64 bytes."""
    lanes, rows, columns = x_GNK.shape
    if lanes and x_GNK.stride(0) == 0:
        return x_GNK[:1].clone(memory_format=torch.contiguous_format).expand(lanes, -1, -1)
    unit = _ALIGNMENT_BYTES // x_GNK.itemsize
    stride = -(-rows * columns // unit) * unit
    storage = torch.empty(lanes * stride, dtype=x_GNK.dtype, device=x_GNK.device)
    return storage.as_strided(x_GNK.shape, (stride, columns, 1)).copy_(x_GNK)


class _Product(torch.autograd.Function):
    """`lane_product` with gradients, each contiguous."""

    @staticmethod
    def forward(ctx: Any, left_GNK: Tensor, right_GKM: Tensor) -> Tensor:
        ctx.save_for_backward(left_GNK, right_GKM)
        return lane_product(left_GNK, right_GKM)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_GNM: Tensor) -> tuple[Tensor | None, Tensor | None]:
        left_GNK, right_GKM = ctx.saved_tensors
        needs_left, needs_right = ctx.needs_input_grad
        gradient_GNM = gradient_GNM.contiguous()
        return (
            lane_product(gradient_GNM, right_GKM.transpose(1, 2)) if needs_left else None,
            lane_product(left_GNK.transpose(1, 2), gradient_GNM) if needs_right else None,
        )


class _Linear(torch.autograd.Function):
    """Batched matrix product whose weight gradient comes out as [G, M, K], as the weight lies.

    Autograd's own would be a transposed [G, K, M], which makes every pass of the optimizer several times slower.
    """

    @staticmethod
    def forward(ctx: Any, x_GNK: Tensor, weight_GMK: Tensor, bias_GM: Tensor | None) -> Tensor:
        ctx.save_for_backward(x_GNK, weight_GMK)
        return lane_product(x_GNK, weight_GMK.transpose(1, 2), bias_GM)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_GNM: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x_GNK, weight_GMK = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        # Sums over other layouts take an order that depends on the place of the column among all lanes'.
        gradient_GNM = gradient_GNM.contiguous()
        return (
            lane_product(gradient_GNM, weight_GMK) if needs_x else None,
            lane_product(gradient_GNM.transpose(1, 2), x_GNK) if needs_weight else None,
            gradient_GNM.sum(1) if needs_bias else None,
        )


_apply_product: Callable[..., Tensor] = _Product.apply
_apply_linear: Callable[..., Tensor] = _Linear.apply


def _autocast(tensor: Tensor) -> Tensor:
    """Casts as torch's autocast does for its own products: it does not look into functions with gradients of theirs."""
    device = tensor.device.type
    if not torch.is_autocast_enabled(device) or tensor.dtype is torch.float64:
        return tensor
    return tensor.to(torch.get_autocast_dtype(device))


def product(left: Tensor, right: Tensor) -> Tensor:
    """Multiplies matrices within each lane, over batch axes that broadcast.

    Shape: [G, ..., N, K] and [G, ..., K, M] give [G, ..., N, M].
    """
    left, right = _autocast(left), _autocast(right)
    if right.ndim == 3 and left.ndim > 3:
        return _apply_product(left.flatten(1, -2), right).view(*left.shape[:-1], right.shape[-1])
    batch = torch.broadcast_shapes(left.shape[:-2], right.shape[:-2])  # type: ignore[no-untyped-call]
    left_GNK, right_GKM = (_merged(x.expand(*batch, *x.shape[-2:]), len(batch)) for x in (left, right))
    return _apply_product(left_GNK, right_GKM).view(*batch, left.shape[-2], right.shape[-1])


def _merged(x: Tensor, axes: int) -> Tensor:
    """Merges batch axes into the lanes', in whole matrices: several lanes need copies of what one alone does not."""
    if axes == 1:
        return x
    is_transposed = x.stride(-2) == 1 and x.stride(-1) != 1
    whole = x.mT.contiguous().mT if is_transposed else x.contiguous()
    return whole.flatten(0, axes - 1)


def linear(x: Tensor, weight_GMK: Tensor, bias_GM: Tensor | None = None) -> Tensor:
    """Applies each lane's linear map to that lane's input.

    In float64, which is run for exactness, each lane is a call of its own: the same bits as the model alone has.

    Shape: `x` [G, ..., K], with a lane stride of 0 where lanes share it; gives [G, ..., M].
    """
    x, weight_GMK = _autocast(x), _autocast(weight_GMK)
    bias_GM = None if bias_GM is None else _autocast(bias_GM)
    if x.dtype == torch.float64 and x.device.type == "cpu":
        # Copies, since the order of the kernel's sums follows from where its operands begin.
        biases = [None] * len(x) if bias_GM is None else [row.clone() for row in bias_GM]
        rows = zip(x, weight_GMK, biases, strict=True)
        return torch.stack([plain.linear(row.clone(), weight.clone(), bias) for row, weight, bias in rows])
    lanes, outputs, inputs = weight_GMK.shape
    if x.ndim == 3 and _lanes_are_alike(weight_GMK, x):
        return _features_first(x, weight_GMK, bias_GM)
    y_GNM = _apply_linear(x.reshape(lanes, x.shape[1:-1].numel(), inputs), weight_GMK, bias_GM)
    return y_GNM if x.ndim == 3 else y_GNM.view(*x.shape[:-1], outputs)


def _features_first(x_GNK: Tensor, weight_GMK: Tensor, bias_GM: Tensor | None) -> Tensor:
    """The product as [G, M, N], seen as [G, N, M]: autograd's own weight gradient then lies as the weight does.

    A node in Python less in the forward and the backward pass: a third of the time of a small layer.
    """
    x_GKN = x_GNK.transpose(1, 2)
    if bias_GM is None:
        return torch.bmm(weight_GMK, x_GKN).transpose(1, 2)
    return torch.baddbmm(bias_GM.unsqueeze(2), weight_GMK, x_GKN).transpose(1, 2)


def _lanes_are_alike(weight_GMK: Tensor, x_GNK: Tensor) -> bool:
    """Whether no operand of the product or of its gradients needs a copy for its lanes to begin at like addresses."""
    _, outputs, inputs = weight_GMK.shape
    rows, unit = x_GNK.shape[1], _ALIGNMENT_BYTES // x_GNK.itemsize
    if min(rows, outputs, inputs) == 1 or rows * inputs % unit or inputs * outputs % unit or rows * outputs % unit:
        return False
    lane, row, column = x_GNK.stride()
    is_matrix = (column == 1 and row == inputs) or (row == 1 and column == rows)
    return is_matrix and lane in (0, rows * inputs) and weight_GMK.is_contiguous()
