"""What a bundle holds, compared with what was planned: cheap, and before memory runs out."""

from __future__ import annotations

import torch

from hydro.tuner.training.lane import MemoryMiss
from hydro.tuner.training.peak_memory import peak_bytes, reset_peak
from hydro.worker.own_device import own_memory_bytes
from hydro.worker.recipe import Grant

NEAR_LIMIT = 0.9
"""A bundle that holds more than was planned, and more than this share of the device's memory, goes on with fewer lanes
at once: what it takes next may be refused."""


class MemoryWatch:
    """Looks at the largest memory of this process, which the system keeps: a look reads one small file."""

    def __init__(self, grant: Grant, device: torch.device) -> None:
        self._device = device
        self._expected = grant.recipe.memory_bytes
        self._limit = NEAR_LIMIT * (grant.device_memory_bytes or own_memory_bytes(device))

    def begin(self) -> None:
        """Forgets what was held before: by another bundle, or by more lanes at once."""
        reset_peak(self._device)

    def look(self, lanes: int) -> MemoryMiss | None:
        """Gives what so many lanes at once held beyond the plan; None: no more than that, or than was told before."""
        held = peak_bytes(self._device)
        if not self._expected or held <= self._expected:
            return None
        self._expected = held
        return MemoryMiss(lanes, held, refused=False)

    def is_near_limit(self, miss: MemoryMiss) -> bool:
        """Tells whether a bundle that holds so much should be made smaller."""
        return miss.memory_bytes > self._limit
