"""Dropout over lanes, each from its own random stream.

Legend: G lanes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def dropout(
    x: Tensor,
    p: float | Tensor,
    generators: Sequence[torch.Generator] | None,
    strides: Sequence[int] | None = None,
) -> Tensor:
    """Drops elements with each lane's own probability and random stream.

    Draws what plain PyTorch draws for that model: a lane with `p` 0 draws nothing, and the noise lies in memory as the
    model's own input would.

    Args:
        x: [G, ...].
        p: One probability, or one per lane [G].
        generators: One per lane; None draws from the default generator, lane after lane.
        strides: Those of one lane's input when it would not be contiguous in the model alone.
    """
    probabilities = p.tolist() if isinstance(p, Tensor) else [p] * len(x)
    streams = generators if generators is not None else [None] * len(x)
    noise = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    if strides is not None:
        noise = noise.view(-1).as_strided(x.shape, (x[0].numel(), *strides))
    for row, probability, stream in zip(noise.unbind(), probabilities, streams, strict=True):
        if 0 < probability < 1:
            row.bernoulli_(1 - probability, generator=stream).div_(1 - probability)
        else:
            row.fill_(1 - probability)
    return x * noise
