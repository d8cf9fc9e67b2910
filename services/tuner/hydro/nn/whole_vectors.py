"""Elementwise functions whose bits do not depend on where an element lies.

Torch computes as many elements as fill the processor's vectors by one approximation of exp, tanh, erf and the like, and
the few that remain at the end by another. Which elements remain depends on how many lanes lie before the end, so lanes
that do not fill vectors are made to.

Legend: G lanes, N batch, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as plain

from hydro.nn.packing import leading_channels, with_empty_channels

_BLOCK_BYTES = 128
"""Torch's loops take two vectors of at most 64 bytes at a time."""

_APPROXIMATED = """
    acos acosh addcdiv addcmul asin asinh atan atan2 atanh binary_cross_entropy binary_cross_entropy_with_logits celu
    cos cosh digamma elu erf erfc erfinv exp exp2 expm1 gelu hardsigmoid hardswish huber_loss hypot i0 kl_div lerp
    lgamma log log10 log1p log2 log_sigmoid logaddexp logaddexp2 logit mish pow selu sigmoid silu sin sinc sinh
    smooth_l1_loss softplus tan tanh
"""

APPROXIMATED = frozenset(f"aten::{name}" for name in _APPROXIMATED.split())
"""What torch computes with one code for whole vectors and another for the rest; IEEE fixes the bits of all else."""


def fills_vectors(elements: int, itemsize: int) -> bool:
    """Whether lanes of so many elements leave nothing to the end of the loop."""
    return elements * itemsize % _BLOCK_BYTES == 0


def missing_channels(x_NC: Tensor) -> int:
    """How many channels it takes for [N, C, ...] to have whole vectors of them.

    What torch computes with vectors of channels has other bits in those that fill none: which ones follows from the
    number of lanes.
    """
    return -x_NC.shape[1] % (_BLOCK_BYTES // x_NC.itemsize) if x_NC.is_cpu else 0


def in_whole_channels(function: Callable[..., Tensor], x_NC: Tensor, *values: Any, **options: Any) -> Tensor:
    """Calls a function of each channel of [N, C, ...] by itself on whole vectors of channels.

    Shape: gives [N, C, ...].
    """
    missing = missing_channels(x_NC)
    whole = with_empty_channels(x_NC, missing) if missing else x_NC
    return leading_channels(function(whole, *values, **options), x_NC.shape[1])


def in_whole_vectors(
    function: Callable[..., Tensor], lanes: int, shape: tuple[int, ...], *values: Any, **options: Any
) -> Tensor:
    """Calls an elementwise function on lanes padded to whole vectors, and cuts the padding off again.

    Shape: tensors among `values` broadcast to [G, *shape], which comes out.
    """
    filled = [_filled(x.expand(lanes, *shape)) if isinstance(x, Tensor) else x for x in values]
    elements = torch.Size(shape).numel()
    return function(*filled, **options)[:, :elements].reshape(lanes, *shape)


def _filled(x: Tensor) -> Tensor:
    rows = x.flatten(1) if x.ndim > 1 else x.unsqueeze(1)
    block = _BLOCK_BYTES // x.itemsize
    # Ones, since next to every such function is finite there.
    return plain.pad(rows, (0, -rows.shape[1] % block), value=1.0)
