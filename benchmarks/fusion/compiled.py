"""What torch.compile makes of a fused step, and what the compilation takes: rows of their own, beside the table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch

from benchmarks.fusion.cells import batch_of, models_of, seconds_of
from benchmarks.fusion.variants import SGD, Fused, Separate, Variant
from benchmarks.fusion.workloads import CPU_WORKLOADS, Workload
from benchmarks.rounds import interval, ratio

LANES = 16
WORKLOADS = (CPU_WORKLOADS[0], CPU_WORKLOADS[-1])
"""The model that dispatch takes the time of, and the one with most to gain from fewer passes over memory."""


def compiled_rows() -> Iterator[dict[str, Any]]:
    """Gives a row for each model."""
    for workload in WORKLOADS:
        yield measure_compiled(workload, LANES)


def measure_compiled(workload: Workload, lanes: int) -> dict[str, Any]:
    """Times separate models, fused ones, and fused ones compiled; the first step of the latter is the compilation."""
    cpu = torch.device("cpu")
    models, batch = models_of(workload, lanes, cpu), batch_of(workload, cpu)
    compiled = Fused(models, batch, SGD, compiles=True)
    begin = time.perf_counter()
    compiled.step()
    compile_seconds = time.perf_counter() - begin
    variants: dict[str, Variant] = {
        "separate": Separate(models, batch, SGD), "fused": Fused(models, batch, SGD), "compiled": compiled
    }  # fmt: skip
    steps = seconds_of({name: variant.step for name, variant in variants.items()}, workload.rounds, cpu)
    return {
        "what": "compiled", "model": workload.name, "lanes": lanes, "optimizer": SGD,
        "threads": torch.get_num_threads(), "compilation": compiled.compilation, "compile_seconds": compile_seconds,
        "milliseconds": {name: asdict(interval([1e3 * one for one in values])) for name, values in steps.items()},
        "compiled_speedup_vs_fused": asdict(ratio(steps["fused"], steps["compiled"])),
        "compiled_speedup_vs_separate": asdict(ratio(steps["separate"], steps["compiled"])),
    }  # fmt: skip
