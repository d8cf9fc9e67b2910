"""Losses against classes whose terms have weights, or whose target is a distribution, for all lanes at once.

Legend: G lanes, N batch, C classes.
Source: aten/src/ATen/native/LossNLL.cpp.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as plain


def weighted_cross_entropy(
    logits: Tensor, target: Tensor, weight_GC: Tensor | None, reduction: str, ignore_index: int, label_smoothing: float
) -> Tensor:
    """Cross entropy of each lane against class numbers, each class with its weight.

    Shape: `logits` [G, N, C, ...] or [G, C], `target` without C; gives [G], or the target's shape without reduction.
    """
    classes = 1 if logits.ndim == 2 else 2
    logs = plain.log_softmax(logits, classes)
    losses = nll_loss(logs, target, weight_GC, "none", ignore_index)
    counted = target != ignore_index
    if label_smoothing:
        scale = 1.0 if weight_GC is None else _by_class(weight_GC, logs, classes)
        uniform = -(logs * scale).sum(classes).masked_fill(~counted, 0)
        losses = (1 - label_smoothing) * losses + label_smoothing / logits.shape[classes] * uniform
    return _reduced(losses, _weights(target, weight_GC, counted, losses.dtype), reduction)


def soft_cross_entropy(
    logits: Tensor, target: Tensor, weight_GC: Tensor | None, reduction: str, label_smoothing: float
) -> Tensor:
    """Cross entropy of each lane against a distribution over classes.

    Shape: both [G, N, C, ...] or [G, C]; gives [G], or the shape without C.
    """
    classes = 1 if logits.ndim == 2 else 2
    wanted = target * (1 - label_smoothing) + label_smoothing / logits.shape[classes] if label_smoothing else target
    terms = plain.log_softmax(logits, classes) * wanted
    if weight_GC is not None:
        terms = terms * _by_class(weight_GC, terms, classes)
    losses = -terms.sum(classes)
    return _reduced(losses, torch.ones_like(losses), reduction)


def nll_loss(logs: Tensor, target: Tensor, weight_GC: Tensor | None, reduction: str, ignore_index: int) -> Tensor:
    """Negative log likelihood of each lane.

    Shape: as in `weighted_cross_entropy`, with log probabilities for logits.
    """
    classes = 1 if logs.ndim == 2 else 2
    counted = target != ignore_index
    safe = target.masked_fill(~counted, 0)
    losses = -logs.gather(classes, safe.unsqueeze(classes)).squeeze(classes).masked_fill(~counted, 0)
    weights = _weights(target, weight_GC, counted, losses.dtype)
    return _reduced(losses if weight_GC is None else losses * weights, weights, reduction)


def binary_cross_entropy(probabilities: Tensor, target: Tensor, weight: Tensor | None) -> Tensor:
    """Binary cross entropy of each element.

    NaN gives NaN, where torch refuses it: a lane that diverged must not stop its neighbours.
    """
    is_nan = probabilities.isnan()
    losses = plain.binary_cross_entropy(probabilities.masked_fill(is_nan, 0.5), target, weight, reduction="none")
    return torch.where(is_nan, probabilities, losses)


def _weights(target: Tensor, weight_GC: Tensor | None, counted: Tensor, dtype: torch.dtype) -> Tensor:
    """Gives what each term counts in the mean."""
    if weight_GC is None:
        return counted.to(dtype)
    lanes = len(target)
    safe = target.masked_fill(~counted, 0)
    own = weight_GC.gather(1, safe.reshape(lanes, -1)).view(target.shape)
    return own.masked_fill(~counted, 0)


def _by_class(weight_GC: Tensor, like: Tensor, classes: int) -> Tensor:
    return weight_GC.view(len(weight_GC), *(1,) * (classes - 1), -1, *(1,) * (like.ndim - classes - 1))


def _reduced(losses: Tensor, weights: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return losses
    lanes = len(losses)
    total_G = losses.reshape(lanes, -1).sum(1)
    return total_G if reduction == "sum" else total_G / weights.reshape(lanes, -1).sum(1)
