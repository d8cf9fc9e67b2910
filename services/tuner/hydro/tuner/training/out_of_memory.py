"""Running out of memory: how it shows, and what a trainer says of it.

RuntimeError
└── OutOfMemory    a trainer cannot go on: its lanes are to be built again from their checkpoints, fewer at once
"""

from __future__ import annotations

import gc

import torch

from hydro.kit.memory import return_freed_memory
from hydro.tuner.training.lane import MemoryMiss

_SIGNS = ("can't allocate memory", "out of memory", "std::bad_alloc", "ALLOC_FAILED")
"""What torch's CPU allocator, CUDA, C++ and the CUDA libraries say; all of them as a plain RuntimeError."""


class OutOfMemory(RuntimeError):
    """There is no smaller way for this trainer to run, or its lanes are not what they were before the step."""

    def __init__(self, miss: MemoryMiss) -> None:
        super().__init__(f"out of memory with {miss.lanes} lanes at once, holding {miss.memory_bytes / 2**20:.0f} MiB")
        self.miss = miss


def is_out_of_memory(error: BaseException) -> bool:
    """Tells whether an error says that memory was refused."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError | OutOfMemory):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def free_unused(device: torch.device) -> None:
    """Gives back what nothing refers to any more; call it when the error, which holds the frames, is gone."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    else:
        return_freed_memory()
