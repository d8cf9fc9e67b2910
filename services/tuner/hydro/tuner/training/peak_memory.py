"""The most memory that this process held on a device while something ran."""

from __future__ import annotations

from pathlib import Path

import torch

from hydro.kit.memory import return_freed_memory

_RESET_PEAK = "5"  # proc(5): /proc/pid/clear_refs


def reset_peak(device: torch.device) -> None:
    """Starts anew: the peak is what the process uses now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    return_freed_memory()
    try:
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    except OSError:
        # Not allowed here: the peak stays the one of the whole process, which errs on the safe side.
        return


def peak_bytes(device: torch.device) -> int:
    """Gives the largest resident memory since the last reset; on a GPU, what torch had allocated there."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
