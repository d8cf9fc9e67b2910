"""Grouped twins of torch.nn.functional: what separate models compute, for all lanes in one kernel.

Legend: G lanes, N batch, C channels, O output and I input features, V entries, D width. A *packed* tensor is
[N, G*C, ...]: the channels of lane 0, then those of lane 1, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as plain

from hydro.nn.lane_attention import scaled_dot_product_attention as scaled_dot_product_attention
from hydro.nn.lane_convolution import convolution as convolution
from hydro.nn.lane_convolution import convolution_shared as convolution_shared
from hydro.nn.lane_dropout import dropout as dropout
from hydro.nn.lane_embedding import embedding as embedding
from hydro.nn.lane_product import linear as linear
from hydro.nn.lane_product import product as product
from hydro.nn.packing import leading_channels, with_empty_channels
from hydro.nn.whole_vectors import missing_channels


def linear_shared(x: Tensor, weight_GOI: Tensor, bias_GO: Tensor | None = None) -> Tensor:
    """Applies each lane's linear map to one input that all lanes share, which is not copied.

    Shape: `x` [..., I]; gives [G, ..., O].
    """
    return linear(x.expand(len(weight_GOI), *x.shape), weight_GOI, bias_GO)


def batch_norm(
    x: Tensor,
    weight_GC: Tensor | None,
    bias_GC: Tensor | None,
    running_mean_GC: Tensor | None,
    running_var_GC: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """Normalizes each lane's channels; in training the running statistics are updated in place.

    Exact because a channel meets only its own samples. Shape: `x` packed.
    """
    mean, variance = (None if each is None else each.view(-1) for each in (running_mean_GC, running_var_GC))
    weight, bias = (None if each is None else each.reshape(-1) for each in (weight_GC, bias_GC))
    channels = x.shape[1]
    extra = missing_channels(x)
    if not extra:
        return plain.batch_norm(x, mean, variance, weight, bias, training, momentum, eps)
    whole = with_empty_channels(x, extra)
    own = [None if each is None else plain.pad(each, (0, extra)) for each in (mean, variance, weight, bias)]
    y = plain.batch_norm(whole, own[0], own[1], own[2], own[3], training, momentum, eps)
    for kept, padded in ((mean, own[0]), (variance, own[1])):
        if training and kept is not None and padded is not None:
            kept.copy_(padded[:channels])
    return leading_channels(y, channels)


def layer_norm(
    x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """Normalizes the last axes, then scales and shifts by each lane's own weight and bias.

    Shape: `x` [G, ..., *normalized_shape]; weight and bias [G, *normalized_shape].
    """
    y = plain.layer_norm(x, list(normalized_shape), None, None, eps)
    lanes = (len(x),) + (1,) * (x.ndim - 1 - len(normalized_shape)) + tuple(normalized_shape)
    if weight is None:
        return y if bias is None else y + bias.view(lanes)
    if bias is None:
        return y * weight.view(lanes)
    return torch.addcmul(bias.view(lanes), y, weight.view(lanes))


def cross_entropy(
    logits: Tensor, target: Tensor, reduction: str, ignore_index: int, label_smoothing: float | Tensor
) -> Tensor:
    """Cross entropy of each lane against class numbers.

    Args:
        logits: [G, N, C, ...] or [G, C].
        target: [G, N, ...] or [G]; an expanded view when the lanes share it.
        reduction: "mean", "sum" or "none", within a lane.
        ignore_index: The class number that does not count.
        label_smoothing: One number, or one per lane [G].

    Shape: gives [G], or the target's shape without reduction.
    """
    lanes = len(logits)
    if logits.ndim != 3:
        axis = 1 if logits.ndim == 2 else 2
        logits = logits.movedim(axis, -1).reshape(lanes, -1, logits.shape[axis])
    target_GN = target.reshape(lanes, -1)
    needs_uniform = isinstance(label_smoothing, Tensor) or label_smoothing != 0
    losses_GN, uniform_GN = _class_losses(logits, target_GN, ignore_index, needs_uniform=needs_uniform)
    # What lanes share is compared once.
    counted = (target_GN[:1] if target_GN.stride(0) == 0 else target_GN) != ignore_index
    if uniform_GN is not None:
        share = label_smoothing
        if isinstance(share, Tensor):
            share = share.to(losses_GN.dtype).unsqueeze(1)
        losses_GN = (1 - share) * losses_GN + share * uniform_GN.masked_fill(~counted, 0)
    if reduction == "none":
        return losses_GN.view(target.shape)
    total_G = losses_GN.sum(1)
    return total_G if reduction == "sum" else total_G / counted.sum(1)


_FEW_CLASSES = 16


def _class_losses(
    logits_GNC: Tensor, target_GN: Tensor, ignore_index: int, *, needs_uniform: bool
) -> tuple[Tensor, Tensor | None]:
    """Gives the loss against the target and, if needed, against the uniform distribution.

    Few classes go before the samples: a softmax over a short last axis does not use the processor's vectors.
    """
    if logits_GNC.shape[2] <= _FEW_CLASSES:
        logs_GCN = plain.log_softmax(logits_GNC.transpose(1, 2).contiguous(), 1)
        losses_GN = plain.nll_loss(logs_GCN, target_GN, ignore_index=ignore_index, reduction="none")
        return losses_GN, -logs_GCN.mean(1) if needs_uniform else None
    logs_GNC = plain.log_softmax(logits_GNC, 2)
    classes = target_GN.reshape(-1)
    losses = plain.nll_loss(logs_GNC.flatten(0, 1), classes, ignore_index=ignore_index, reduction="none")
    return losses.view(target_GN.shape), -logs_GNC.mean(2) if needs_uniform else None
