"""Modules of a few ops each, as language models call them: attention, look-ups, indices, order, recurrence, losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Case = tuple[Callable[[], nn.Module], tuple[Any, ...]]


class Calls(nn.Module):
    """A function of a linear map of the input."""

    def __init__(self, function: Callable[..., Any], width: int = 8, **shapes: tuple[int, ...]) -> None:
        super().__init__()
        self.function = function
        self.map = nn.Linear(6, width)
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape)))

    def forward(self, *inputs: Any) -> Any:
        return self.function(self, self.map(inputs[0]), *inputs[1:])


class Attention(nn.Module):
    """Queries by four heads, keys and values by `heads` of them."""

    def __init__(self, heads: int = 4, mask: str = "", **options: Any) -> None:
        super().__init__()
        self.map = nn.Linear(6, 16 + 8 * heads)
        self.offset = nn.Parameter(torch.randn(4, 1, 1))
        self.heads, self.mask, self.options = heads, mask, options

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (-1, 4)).transpose(1, 2)
            for part in self.map(x).split([16, 4 * self.heads, 4 * self.heads], -1)
        )
        options = {**self.options, **self.masks(x)}
        return F.scaled_dot_product_attention(query, key, value, **options).transpose(1, 2).flatten(2)

    def masks(self, x: Tensor) -> dict[str, Any]:
        samples, length, _ = x.shape
        causal = torch.ones(length, length, dtype=torch.bool).tril()
        match self.mask:
            case "causal":
                return {"is_causal": True}
            case "padding":
                padding = (
                    torch.arange(length).expand(samples, 1, 1, -1) < length - torch.arange(samples)[:, None, None, None]
                )
                return {"attn_mask": padding & causal}
            case "learned":
                return {"attn_mask": self.offset * causal}
            case "of-the-lane":
                return {"attn_mask": (self.map(x)[..., :1].transpose(1, 2) > 0)[:, None] | causal}
        return {}


class Recurrent(nn.Module):
    """A recurrent layer of torch."""

    def __init__(self, layer: Callable[..., nn.Module], **options: Any) -> None:
        super().__init__()
        self.layer = layer(6, 4, **options)

    def forward(self, x: Tensor) -> Any:
        output, state = self.layer(x)
        return (output, *(state if isinstance(state, tuple) else (state,)))


def look_ups(module: Any, y: Tensor, ids: Tensor) -> Any:
    padded = F.embedding(ids, module.table, padding_idx=1)
    return padded, F.embedding(ids, module.table, scale_grad_by_freq=True), F.embedding(y.argmax(-1), module.table)


def indices(module: Any, y: Tensor, ids: Tensor) -> Any:
    places = torch.tensor([2, 0, 0])
    return (
        y.gather(1, ids[:, :3, None].expand(-1, -1, 8) % 4), y.gather(2, y.argsort(-1)), y.index_select(1, places),
        y[torch.arange(len(y)), -1], y[:, places], y[:, :, places], y[torch.arange(len(y)), y[..., 0].argmax(1)],
        module.table[ids], module.table[y.argmax(-1)], y.take_along_dim(y.argmax(-1, keepdim=True), -1),
    )  # fmt: skip


def puts(module: Any, y: Tensor) -> Any:
    places, part = torch.tensor([2, 0]), y[:, :2]
    zeros = torch.zeros_like(y)
    return (
        y.scatter(2, y.argsort(-1)[..., :2], 1.0), zeros.scatter_add(1, y.argsort(1), y), 
        y.index_add(1, places, part),
        y.index_copy(1, places, part), y.index_fill(1, places, 2.0),
        y.index_put((torch.arange(2), places), part[:2, 0]),
        torch.slice_scatter(y, part, 1, 1, 3), torch.select_scatter(y, part[:, 0], 1, 2),
        F.one_hot(y.argmax(-1), 8) * y, y.scatter_reduce(1, y.argsort(1), y * 2, "amax"),
    )  # fmt: skip


def orders(module: Any, y: Tensor) -> Any:
    return (
        *y.topk(2), *y.sort(1), *y.max(1), *y.min(-1, keepdim=True), y.cummax(1)[0], y.argsort(descending=True),
        y.flip(1), y.roll(1, 2), y.roll((1, 2), (0, 2)), y.tril(), y.triu(1), y.cumprod(-1), y.logcumsumexp(1),
        y.prod(1), y.norm(dim=-1), y.repeat_interleave(2, 1), y.repeat(2, 1, 3), y.movedim(0, -1), y.diagonal(0, 1, 2),
        y.unfold(1, 2, 1), (y > 0).any(1) | (y > 1).all(-1).any(1, keepdim=True), y.diff(dim=1), y.median(-1)[0],
    )  # fmt: skip


def products(module: Any, y: Tensor) -> Any:
    return (
        torch.einsum("nld,dk->nlk", y, module.matrix), torch.einsum("nld,nmd->nlm", y, y),
        torch.baddbmm(module.row, y, y.transpose(1, 2)), torch.baddbmm(module.row, y, y.mT, beta=0.5, alpha=2),
        F.rms_norm(y, (8,), module.gain), F.rms_norm(y, (8,), None, 1e-3), F.logsigmoid(y),
        torch.concat([y, y], 1), y.type_as(module.row), *y.split([3, 5], -1), y.new_zeros(3) + y.sum(),
    )  # fmt: skip


def class_losses(module: Any, y: Tensor, labels: Tensor) -> Any:
    logits, shared = y.flatten(0, 1), torch.linspace(0.5, 2, 8, dtype=y.dtype)
    share = torch.linspace(0, 1, 8, dtype=y.dtype).expand(len(logits), 8).softmax(-1)
    weighted = [
        F.cross_entropy(logits, labels, weight, ignore_index=2, reduction=reduction, label_smoothing=smoothing)
        for weight in (shared, module.weight.detach().exp(), None)
        for reduction in ("mean", "sum", "none")
        for smoothing in (0.0, 0.1)
    ]
    soft = [F.cross_entropy(logits, share, weight, label_smoothing=0.1) for weight in (shared, None)]
    logs = logits.log_softmax(-1)
    plain = [
        F.nll_loss(logs, labels, weight, ignore_index=2, reduction=reduction)
        for weight in (shared, module.weight.detach().exp(), None)
        for reduction in ("mean", "sum", "none")
    ]
    spatial = F.cross_entropy(y.transpose(1, 2), labels.view(y.shape[:2]), shared)
    return (*weighted, *soft, *plain, F.cross_entropy(logits, logits.softmax(-1)), spatial)


def element_losses(module: Any, y: Tensor) -> Any:
    wanted, positive = torch.full_like(y, 0.25), torch.full((8,), 2.0, dtype=y.dtype)
    logits = F.binary_cross_entropy_with_logits
    return tuple(
        loss
        for reduction in ("mean", "sum", "none")
        for loss in (
            logits(y, wanted, reduction=reduction), logits(y, wanted, wanted, reduction=reduction, pos_weight=positive),
            F.binary_cross_entropy(y.sigmoid(), wanted, module.weight.detach().sigmoid(), reduction=reduction),
            F.kl_div(y.log_softmax(-1), wanted, reduction="sum" if reduction == "mean" else reduction),
            F.poisson_nll_loss(y, wanted, reduction=reduction),
            F.kl_div(y.log_softmax(-1), y.sigmoid().log(), reduction="batchmean", log_target=True),
            F.soft_margin_loss(y, wanted.sign(), reduction=reduction), F.smooth_l1_loss(y, wanted, reduction=reduction),
            F.hinge_embedding_loss(y, wanted.sign(), reduction=reduction), F.huber_loss(y, wanted, reduction=reduction),
        )
    )  # fmt: skip


def draws(module: Any, y: Tensor) -> Any:
    return (
        y * torch.rand(5, 8, dtype=y.dtype), y + torch.randn(3, 1, 8, dtype=y.dtype), y * torch.rand_like(y),
        y - torch.randn_like(y), y * torch.empty_like(y).uniform_(-1, 2), y * torch.empty_like(y).normal_(1, 0.1),
        y + torch.rand(()),
    )  # fmt: skip


def _random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3))


def _ids(*shape: int) -> Tensor:
    return torch.randint(5, shape, generator=torch.Generator().manual_seed(4))


TEXT = (_random(3, 5, 6),)

SEQUENCE_OPS: dict[str, Case] = {
    "attention-causal": (lambda: Attention(mask="causal"), TEXT),
    "attention-of-padded-samples": (lambda: Attention(mask="padding"), TEXT),
    "attention-with-a-learned-offset": (lambda: Attention(mask="learned"), TEXT),
    "attention-masked-by-the-lane": (lambda: Attention(mask="of-the-lane"), TEXT),
    "attention-of-grouped-queries": (lambda: Attention(2, "causal", enable_gqa=True, scale=0.3), TEXT),
    "attention-dropout": (lambda: Attention(dropout_p=0.3), TEXT),
    "attention-dropout-causal": (lambda: Attention(mask="causal", dropout_p=0.3), TEXT),
    "attention-dropout-of-padded-samples": (lambda: Attention(mask="padding", dropout_p=0.3), TEXT),
    "attention-dropout-of-grouped-queries": (lambda: Attention(2, "learned", enable_gqa=True, dropout_p=0.3), TEXT),
    "look-ups": (lambda: Calls(look_ups, table=(8, 4)), (*TEXT, _ids(3, 5))),
    "indices": (lambda: Calls(indices, table=(8, 4)), (*TEXT, _ids(3, 5))),
    "puts": (lambda: Calls(puts), TEXT),
    "orders": (lambda: Calls(orders), TEXT),
    "sequence-products": (lambda: Calls(products, matrix=(8, 3), row=(5,), gain=(8,)), TEXT),
    "draws": (lambda: Calls(draws), TEXT),
    "class-losses": (lambda: Calls(class_losses, weight=(8,)), (*TEXT, _ids(15))),
    "element-losses": (lambda: Calls(element_losses, weight=(8,)), TEXT),
    "lstm": (lambda: Recurrent(nn.LSTM, num_layers=2, batch_first=True, dropout=0.3), TEXT),
    "lstm-in-two-directions": (lambda: Recurrent(nn.LSTM, num_layers=2, bidirectional=True, dropout=0.3), TEXT),
    "lstm-with-projection": (lambda: Recurrent(nn.LSTM, proj_size=3, num_layers=2, bias=False), TEXT),
    "gru": (lambda: Recurrent(nn.GRU, num_layers=2, bidirectional=True, batch_first=True, dropout=0.3), TEXT),
    "rnn": (lambda: Recurrent(nn.RNN, num_layers=2, dropout=0.3), TEXT),
    "rnn-relu": (lambda: Recurrent(nn.RNN, nonlinearity="relu", bias=False), TEXT),
}
"""By name: what makes a module, and its inputs."""
