"""Torch's own fused kernels for the optimizers of separate models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch.optim import Optimizer

_WITH_FUSED_KERNEL = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.Adagrad)

_DEVICES = ("cpu", "cuda")


def use_fused_kernels(optimizer: Optimizer) -> None:
    """Lets a new optimizer update all its parameters by one kernel (`fused=True`) where torch has one and that is open.

    The same update in the same precision, and on a CPU 1.1 to 1.8 times as fast as torch's default: the task's author
    would rarely ask for it, and a fused bundle is to be compared with the best that separate models can do.
    A subclass may step otherwise, so it is left as it is; so are groups for which the author chose an implementation.
    """
    if type(optimizer) in _WITH_FUSED_KERNEL:
        for group in optimizer.param_groups:
            if _is_open(group):
                group["fused"] = True


def _is_open(group: Mapping[str, Any]) -> bool:
    chosen = any(group.get(name) for name in ("fused", "foreach", "capturable", "differentiable"))
    # Without gradients in the same form as their parameters there is no kernel: sparse ones, complex numbers.
    plain = all(each.is_floating_point() and each.device.type in _DEVICES for each in group["params"])
    return plain and not chosen and group.get("fused") is not False and not isinstance(group["lr"], torch.Tensor)
