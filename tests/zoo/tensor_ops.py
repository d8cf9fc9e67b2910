"""Modules of a few ops each that only do arithmetic, make, cut, turn or reduce tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zoo.sequence_ops import TEXT, Calls, Case

aten = torch.ops.aten

MORE_THAN_A_CONSTANT = (1 << 22) + 1
"""Elements of a filled tensor that a grouped graph computes when it runs rather than keeps."""


class Scaled(nn.Module):
    """A linear map times a number that lanes do not have in common."""

    def __init__(self) -> None:
        super().__init__()
        self.map, self.scale = nn.Linear(6, 8), torch.rand(()).item()

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x) * torch.tensor([self.scale, 2.0], dtype=x.dtype).repeat_interleave(4)


def arithmetic(module: Any, y: Tensor) -> Any:
    mask, half = y > 0, torch.full((), 0.5, dtype=y.dtype)
    return (
        torch.rsub(y, module.row), y.masked_fill(mask, half), y.masked_fill(mask, 2.0), F.relu6(3 * y), F.selu(y),
        torch.where(mask, y, 1.0), torch.where(mask, -1.0, y), torch.where(mask, 2.0, 3.0), y.square(),
        torch.true_divide(y, 3 + module.row), torch.multiply(y, module.row), torch.subtract(y, module.row),
        torch.divide(y, half), *(aten.__and__(mask, y < 1), aten.__xor__(mask, y < 1), aten.__or__(mask, y < -1)),
        aten.__and__((3 * y).int(), 3), aten.__or__((3 * y).int(), 4), F.log_softmax(y, -1),
    )  # fmt: skip


def filled(module: Any, y: Tensor) -> Any:
    size, few = (MORE_THAN_A_CONSTANT,), slice(3)
    many = y[0, 0, 0].expand(size)
    return tuple(
        y.sum() * each[few]
        for each in (
            y.new_zeros(size), y.new_ones(size), y.new_full(size, 0.5), torch.zeros_like(many), torch.ones_like(many),
            torch.full_like(many, 2),
        )
    ) + (y.new_empty(3).fill_(2) * y[..., :3], torch.empty_like(y).copy_(y[0]))  # fmt: skip


def turned(module: Any, y: Tensor) -> Any:
    rows, single = y[0], y[:1, :, :1]
    return (
        y.view(-1), aten._unsafe_view(y, [5, -1]), rows.view_as(y[0]), y.reshape_as(y.mT), y.ravel(), single.squeeze(),
        single.squeeze(0), single.squeeze((0, 2)), y.swapaxes(0, 1), y.swapdims(1, 2), rows.t(), rows.T, y.adjoint(),
        y[:, :1].expand_as(y), rows.broadcast_to(y.shape), y.moveaxis(0, 2), y.moveaxis((0, 1), (2, 0)),
        y.movedim((0, 2), (1, 0)), y.clone(), y.mT.contiguous(), y.to("cpu"), *torch.broadcast_tensors(y, module.row),
        aten.alias(y), aten.to.other(y > 0, module.row), aten.to.device(y > 0, "cpu", torch.float64),
        torch.mm(rows, module.square), F.channel_shuffle(y[..., None], 5),
    )  # fmt: skip


def cut(module: Any, y: Tensor) -> Any:
    return (
        *y.split(2, 1), *aten.split.sizes(y, [1, 4], 1), *y.tensor_split(3, -1), *y.tensor_split((2, 3), 1),
        *y.unbind(1), *y.chunk(3, 1), y.narrow(1, 1, 3), torch.concatenate([y, y], 1),
    )  # fmt: skip


def reduced(module: Any, y: Tensor) -> Any:
    mask = y > 0
    return (
        y.amin(1), y.logsumexp((1, 2)), y.var((0, 1), correction=0), y.std(1), aten.std.dim(y, [1]), y.argmin(),
        y.argmin(-1), y.min(), y.max(), y.prod(), y.var(), y.std(False), torch.var(y, False), y.std(1, correction=0),
        mask.any(), mask.all(), mask.any((1, 2)), mask.all((0, 1)), mask.count_nonzero((0, 2)), F.glu(y),
        aten.norm.ScalarOpt_dim(y, 2, [1]), *torch.std_mean(y, 1), *torch.var_mean(y, (0, 2), keepdim=True),
        *torch.std_mean(y, 1, correction=0), *torch.var_mean(y, (0, 2), correction=0),
    )  # fmt: skip


def ordered(module: Any, y: Tensor) -> Any:
    return (
        *y.kthvalue(2, 1), *y.sort(stable=True, dim=1, descending=True), *y.mode(-1), *y.cummin(1), y.cummax(-1)[0],
        y.argsort(stable=True, dim=1), *y.topk(2, 1, largest=False), *y.sort(-1), y.argsort(-1, descending=True),
        y.scatter(1, y.argsort(1), 2 * y),
        y.detach().scatter(2, y.argsort(2)[..., :3], 2.0, reduce="multiply"),
    )  # fmt: skip


def flat_losses(module: Any, y: Tensor, labels: Tensor) -> Any:
    logs = y.flatten(0, 1).log_softmax(-1)
    planes = y.transpose(1, 2)[..., None].log_softmax(1)
    return (
        aten.nll_loss(logs, labels, None, 1, 2), aten.nll_loss2d(planes, labels.view(3, 5, 1), None, 2, -100),
    )  # fmt: skip


TENSOR_OPS: dict[str, Case] = {
    "arithmetic": (lambda: Calls(arithmetic, row=(8,)), TEXT),
    "constants-of-the-lane": (Scaled, TEXT),
    "filled": (lambda: Calls(filled), TEXT),
    "turned": (lambda: Calls(turned, row=(8,), square=(8, 8)), TEXT),
    "cut": (lambda: Calls(cut), TEXT),
    "reduced": (lambda: Calls(reduced), TEXT),
    "ordered": (lambda: Calls(ordered), TEXT),
    "flat-losses": (lambda: Calls(flat_losses), (*TEXT, torch.arange(15) % 8)),
}
"""By name: what makes a module, and its inputs."""
