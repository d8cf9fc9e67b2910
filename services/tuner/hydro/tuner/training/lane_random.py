"""A lane's own random numbers: what dropout draws in one lane is what it would draw in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor


class HasRandomState(Protocol):
    """Carries the state of its random numbers between steps."""

    random_state: Tensor


def initial_random_state(seed: int, device: torch.device) -> Tensor:
    """Gives the state of a new trial's random numbers."""
    return torch.Generator(device).manual_seed(seed).get_state()


def usable_random_state(state: Tensor, seed: int, step: int, device: torch.device) -> Tensor:
    """Gives a checkpoint's state, or a new one where the checkpoint comes from another kind of device."""
    fresh = initial_random_state(seed * 1_000_003 + step, device)
    return state if state.numel() == fresh.numel() else fresh


@contextmanager
def lane_randomness(lane: HasRandomState, device: torch.device) -> Iterator[None]:
    """Makes torch's global generator the lane's, and keeps the lane's state at the end."""
    generator = _global_generator(device)
    outer = generator.get_state()
    generator.set_state(lane.random_state)
    try:
        yield
    finally:
        lane.random_state = generator.get_state()
        generator.set_state(outer)


def _global_generator(device: torch.device) -> torch.Generator:
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator
