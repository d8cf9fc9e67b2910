"""The device that a worker brings with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from hydro.worker.settings import WorkerSettings

CONTAINER_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Where the kernel says how much memory a container may use: control groups version 2, then 1."""


@dataclass(frozen=True, slots=True)
class OwnDevice:
    """What the coordinator is told of it.

    `is_gpu` says it is a GPU, else the CPU. `cpu_cores` are the cores that the worker is pinned to; none: not pinned.
    `threads` are those of one op that it gives on a CPU.
    """

    name: str
    is_gpu: bool
    model: str
    memory_bytes: int
    cpu_cores: tuple[int, ...]
    threads: int


def own_device(settings: WorkerSettings, device: torch.device) -> OwnDevice:
    """Describes the device that this process computes on."""
    return OwnDevice(
        name=settings.worker_device,
        is_gpu=device.type == "cuda",
        model=torch.cuda.get_device_properties(device).name if device.type == "cuda" else "cpu",
        memory_bytes=own_memory_bytes(device),
        cpu_cores=tuple(sorted(settings.cores)),
        threads=0 if device.type == "cuda" else torch.get_num_threads(),
    )


def own_memory_bytes(device: torch.device) -> int:
    """Gives the memory of the device that this process computes on."""
    if device.type == "cuda":
        total: int = torch.cuda.get_device_properties(device).total_memory
        return total
    return usable_memory_bytes()


def usable_memory_bytes(limits: Sequence[Path] = CONTAINER_LIMITS) -> int:
    """Gives the machine's memory, or the container's where that is less."""
    total: int = psutil.virtual_memory().total
    written = [path.read_text().strip() for path in limits if path.is_file()]
    return min([total, *(int(limit) for limit in written if limit.isdigit())])
