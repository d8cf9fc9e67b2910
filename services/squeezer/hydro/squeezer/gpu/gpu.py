"""What the squeezer asks of a GPU.

Laws that every adapter keeps: used and free bytes are not negative and together at most the total; a process that holds
memory is listed; a failure of the device raises GpuUnavailable, and the next call may succeed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

_SMALLEST_HEADROOM_BYTES: Final = 1 << 30
_HEADROOM_SHARE: Final = 0.05


class GpuUnavailable(Exception):
    """The GPU, or the library that speaks for it, does not answer."""


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Memory of a GPU."""

    total_bytes: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that holds memory of a GPU."""

    pid: int
    used_bytes: int


class Gpu(Protocol):
    """One GPU."""

    @property
    def model(self) -> str:
        """Name of the hardware, "NVIDIA H200"."""

    @property
    def index(self) -> int | None:
        """Index for CUDA_VISIBLE_DEVICES; None for a simulated one."""

    def memory(self) -> GpuMemory:
        """Gives the memory now.

        Raises:
            GpuUnavailable: the device does not answer.
        """

    def processes(self) -> tuple[GpuProcess, ...]:
        """Gives the processes that hold memory now.

        Raises:
            GpuUnavailable: the device does not answer.
        """


def headroom_bytes(memory: GpuMemory) -> int:
    """Gives what stays free of trials: the larger of 1 GiB and 5 % of the total."""
    return max(_SMALLEST_HEADROOM_BYTES, int(memory.total_bytes * _HEADROOM_SHARE))


def trial_memory_bytes(memory: GpuMemory, growth_bytes: int) -> int:
    """Gives what trials may use: free now, less what the pipeline run will take again, less headroom."""
    return max(0, memory.free_bytes - growth_bytes - headroom_bytes(memory))


def memory_room_bytes(memory: GpuMemory, growth_bytes: int) -> int:
    """Gives what a worker may take beside what it holds; below 0: what it should give back; 0: neither.

    It is asked for memory when a quarter of the headroom is gone, for all that is missing of it.
    """
    headroom = headroom_bytes(memory)
    room = memory.free_bytes - growth_bytes - headroom
    return 0 if -headroom // 4 < room < 0 else room


def is_low(memory: GpuMemory, growth_bytes: int) -> bool:
    """Whether half of the headroom is gone, what the pipeline run will take again included: trials have to leave."""
    return memory.free_bytes - growth_bytes < headroom_bytes(memory) // 2
