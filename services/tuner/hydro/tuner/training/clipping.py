"""Gradient clipping that keeps to its lane.

Legend: G lanes.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


@torch.no_grad()
def clip_lane_gradients(parameters: Iterable[Tensor], max_norm: float) -> None:
    """Scales each lane's gradient down to a norm over all its parameters: `clip_grad_norm_` for every lane alone.

    Shape: parameters and their gradients [G, ...].
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return
    norms = torch.stack([torch.linalg.vector_norm(gradient.flatten(1), dim=1) for gradient in gradients])
    factor_G = (max_norm / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(factor_G.to(gradient.dtype).view(-1, *[1] * (gradient.ndim - 1)))
