"""The devices of this machine, as the coordinator's setting names them."""

from __future__ import annotations

import os
import re
from pathlib import Path

_GPU = re.compile(r"nvidia(\d+)")


def local_devices(device_files: Path = Path("/dev")) -> str:
    """Every GPU, "gpu:0,gpu:1"; on a machine without one every core that this process may use, "cpu:0,cpu:1"."""
    gpus = sorted(int(found[1]) for path in device_files.glob("nvidia*") if (found := _GPU.fullmatch(path.name)))
    if gpus:
        return ",".join(f"gpu:{index}" for index in gpus)
    return ",".join(f"cpu:{core}" for core in _usable_cores())


def _usable_cores() -> list[int]:
    # Not every system can say which.
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
