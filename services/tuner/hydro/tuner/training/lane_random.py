"""A lane's own random numbers: what dropout draws in one lane is what it would draw in a process of its own."""

from __future__ import annotations

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


class lane_randomness:  # noqa: N801 - a context manager that reads as the verb it is
    """Makes torch's global generator the lane's, and keeps the lane's state at the end."""

    __slots__ = ("_generator", "_lane", "_outer")

    def __init__(self, lane: HasRandomState, device: torch.device) -> None:
        self._lane = lane
        self._generator = _global_generator(device)

    def __enter__(self) -> None:
        self._outer = self._generator.get_state()
        self._generator.set_state(self._lane.random_state)

    def __exit__(self, *error: object) -> None:
        self._lane.random_state = self._generator.get_state()
        self._generator.set_state(self._outer)


def _global_generator(device: torch.device) -> torch.Generator:
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator
