"""What the zoo's rooms list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True, slots=True)
class ZooModel:
    """A library model at a size that a test can train."""

    name: str
    make: Callable[[], nn.Module]
    """Gives a new model from torch's default random stream, in train mode, without downloading anything."""
    inputs: Callable[[torch.Generator], tuple[Any, ...]]
    """Draws one batch of its arguments."""
    make_at_width: Callable[[float], nn.Module] | None = None
    """The library's own way to the same architecture this many times as wide, where it has one."""

    def __str__(self) -> str:
        return self.name
