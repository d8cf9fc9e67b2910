"""Scaled dot-product attention over lanes.

Legend: G lanes, N batch, L target and S source length, D width of a head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as plain

from hydro.nn.lane_dropout import dropout
from hydro.nn.lane_product import product


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    is_causal: bool,
    scale: float | None,
    gqa: bool,
    *,
    dropout_p: float | Tensor = 0.0,
    generators: Sequence[torch.Generator] | None = None,
) -> Tensor:
    """Attends within each lane: lanes are more samples of the batch.

    With dropout the attention is written out, as torch's own is on a CPU, and each lane drops as `dropout` does.

    Shape: [G, N, ..., L, D], or [G, L, D]; `mask` broadcasts to [G * N, ..., L, S].
    """
    if isinstance(dropout_p, Tensor) or dropout_p > 0:
        weights = dropout(_weights(query, key, mask, is_causal, scale), dropout_p, generators)
        return product(weights, _repeated(value, query))
    own_query, own_key, own_value = (_merged(x) if x.ndim > 3 else x for x in (query, key, value))
    y: Tensor = plain.scaled_dot_product_attention(
        own_query, own_key, own_value, mask, 0.0, is_causal, scale=scale, enable_gqa=gqa
    )
    return y.view(*query.shape[:-1], y.shape[-1])


def _merged(x: Tensor) -> Tensor:
    """Merges the batch into the lanes: samples that do not lie one after the other are copied, as several lanes need
    it, also where one lane alone would not.
    """
    lies_inside = x.shape[1] > 1 and x.stride(1) < max(x.stride()[2:])
    return (x.contiguous() if len(x) == 1 and lies_inside else x).flatten(0, 1)


def _weights(query: Tensor, key: Tensor, mask: Tensor | None, is_causal: bool, scale: float | None) -> Tensor:
    """Source: aten/src/ATen/native/transformers/attention.cpp, `_scaled_dot_product_attention_math`."""
    share = (query.shape[-1] ** -0.5 if scale is None else scale) ** 0.5
    logits = product(query * share, _repeated(key, query).transpose(-2, -1) * share)
    if is_causal:
        mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
    if mask is not None:
        merged = logits.flatten(0, 1) if logits.ndim > 3 else logits
        masked = merged.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else merged + mask
        logits = masked.view(logits.shape)
    weights: Tensor = torch.ops.aten._safe_softmax(logits, -1)
    return weights


def _repeated(x: Tensor, query: Tensor) -> Tensor:
    """Gives grouped queries' keys or values once for each query."""
    if x.ndim < 4 or x.shape[-3] == query.shape[-3]:
        return x
    return x.repeat_interleave(query.shape[-3] // x.shape[-3], -3)
