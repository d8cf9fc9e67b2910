"""Peak memory of a variant, each in a process of its own, which this file is when it runs as the main one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmarks.fusion.cells import batch_of, models_of
from benchmarks.fusion.variants import VARIANTS
from benchmarks.fusion.workloads import CPU_WORKLOADS, Workload
from hydro.kit.memory import keep_freed_memory

STEPS = 3


def measure_memory(workload: Workload, lanes: int, optimizer: str, variant: str) -> dict[str, Any]:
    """Runs a few steps in a new process and gives what it holds at most, and before anything was built."""
    command = [sys.executable, "-m", "benchmarks.fusion.memory", workload.name, str(lanes), optimizer, variant]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return {
        "what": "memory", "model": workload.name, "lanes": lanes, "optimizer": optimizer, "variant": variant,
        **json.loads(run.stdout.splitlines()[-1]),
    }  # fmt: skip


def _own_memory(workload: Workload, lanes: int, optimizer: str, variant: str) -> dict[str, int]:
    keep_freed_memory()
    cpu = torch.device("cpu")
    before = _peak_bytes()
    trained = VARIANTS[variant](models_of(workload, lanes, cpu), batch_of(workload, cpu), optimizer)
    for _ in range(STEPS):
        trained.step()
    return {"imported_bytes": before, "peak_bytes": _peak_bytes()}


def _peak_bytes() -> int:
    """The most this process has held resident, as Linux counts it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status tells no VmHWM: peak memory is measured on Linux alone")


if __name__ == "__main__":
    model, count, optimizer_name, variant_name = sys.argv[1:]
    chosen = next(each for each in CPU_WORKLOADS if each.name == model)
    print(json.dumps(_own_memory(chosen, int(count), optimizer_name, variant_name)))
