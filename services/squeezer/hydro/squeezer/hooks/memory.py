"""The memory of the device that this process computes on."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import torch

from hydro.squeezer.pipeline import StageMemory

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def measure_memory() -> StageMemory:
    """Gives the memory of the current GPU and what this process holds of it; on a CPU, of the machine."""
    if torch.cuda.is_available():
        free_bytes, total_bytes = torch.cuda.mem_get_info()
        return StageMemory(
            torch.cuda.memory_reserved(),
            torch.cuda.max_memory_reserved(),
            total_bytes=total_bytes,
            free_bytes=free_bytes,
        )
    machine = _machine_memory()
    resident_bytes = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return StageMemory(resident_bytes, max(peak_bytes, resident_bytes), total_bytes=machine[0], free_bytes=machine[1])


def _machine_memory() -> tuple[int, int]:
    """Total and available bytes."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    total, available = (int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    return total, available
