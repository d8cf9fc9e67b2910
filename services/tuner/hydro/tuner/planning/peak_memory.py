"""The most memory that this process held while something ran."""

from __future__ import annotations

from pathlib import Path

from hydro.kit.memory import return_freed_memory

_RESET_PEAK = "5"  # proc(5): /proc/pid/clear_refs


def reset_peak() -> None:
    """Starts anew: the peak is what the process uses now."""
    return_freed_memory()
    try:
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    except OSError:
        # Not allowed here: the peak stays the one of the whole process, which errs on the safe side.
        return


def peak_bytes() -> int:
    """Gives the largest resident memory since the last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
