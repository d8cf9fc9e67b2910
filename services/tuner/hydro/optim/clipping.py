"""Gradient clipping that keeps to its lane.

Legend: G lanes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from hydro.optim.lane_numbers import Number


@torch.no_grad()
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: Number,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scales each lane's gradient down to a norm over all its parameters: torch.nn.utils.clip_grad_norm_ per lane.

    Args:
        parameters: Parameters [G, ...], with their gradients.
        max_norm: The largest norm, one or one per lane.
        norm_type: The norm's p, or infinity.
        error_if_nonfinite: Whether to raise, instead of scaling a lane by NaN or 0.

    Returns:
        The norms before, [G].

    Raises:
        RuntimeError: A lane's norm is not finite, and that was to be an error.
    """
    gradients = _gradients(parameters)
    if not gradients:
        return torch.tensor([])
    norm_GT = torch.stack([_norms(gradient, norm_type) for gradient in gradients], dim=1)
    norm_G = _norms(norm_GT, norm_type)
    if error_if_nonfinite and not bool(norm_G.isfinite().all()):
        lanes = (~norm_G.isfinite()).nonzero().flatten().tolist()
        raise RuntimeError(f"the gradient norm of order {norm_type} is not finite in the lanes {lanes}")
    factor_G = (_of_lanes(max_norm, norm_G) / (norm_G + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(_beside(factor_G, gradient))
    return norm_G


@torch.no_grad()
def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: Number) -> None:
    """Clamps gradients to [-clip_value, clip_value]: torch.nn.utils.clip_grad_value_ for every lane."""
    for gradient in _gradients(parameters):
        largest = _beside(_of_lanes(clip_value, gradient), gradient)
        gradient.clamp_(-largest, largest)


def _gradients(parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    given = [parameters] if isinstance(parameters, Tensor) else parameters
    return [parameter.grad for parameter in given if parameter.grad is not None]


def _norms(tensor: Tensor, order: float) -> Tensor:
    norm_G: Tensor = torch.linalg.vector_norm(tensor.reshape(len(tensor), -1), order, dim=1)
    return norm_G


def _of_lanes(number: Number, like: Tensor) -> Tensor:
    given = number if isinstance(number, Tensor | Sequence) else [float(number)] * len(like)
    return torch.as_tensor(given, dtype=like.dtype, device=like.device)


def _beside(value_G: Tensor, tensor: Tensor) -> Tensor:
    return value_G.to(tensor.dtype).view(-1, *[1] * (tensor.ndim - 1))
