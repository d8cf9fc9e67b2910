"""`python -m benchmarks.fusion --json FILE [--quick]`."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator

import torch

from benchmarks.fusion.accelerator import accelerator_rows
from benchmarks.fusion.cells import Row, measure_cell
from benchmarks.fusion.compiled import compiled_rows
from benchmarks.fusion.memory import measure_memory
from benchmarks.fusion.planned import choose, measure
from benchmarks.fusion.summary import empty_summary, summarize
from benchmarks.fusion.variants import ADAMW, SGD, VARIANTS
from benchmarks.fusion.workloads import CPU_WORKLOADS, TINY, Workload
from benchmarks.machine import describe
from benchmarks.report import read_options, write_report
from hydro.kit.memory import keep_freed_memory

LANES = (1, 4, 16, 64)
MEMORY_LANES = 16
CPU = torch.device("cpu")


def main() -> None:
    """Measures, prints the rows as they come, and writes the report."""
    options = read_options("Fused training steps against separate models and torch.func")
    # As Hydro's workers do; every variant below has it.
    keep_freed_memory()
    # Peers warn where vmap has no batching rule.
    warnings.simplefilter("ignore")
    machine = describe()
    rows: list[Row] = []
    start = time.monotonic()
    for row in _quick_rows() if options.quick else _rows():
        rows.append(row)
        print(f"{time.monotonic() - start:6.1f} s  {_line(row)}", flush=True)
    write_report(options.json, rows, empty_summary() if options.quick else summarize(rows), machine=machine)


def _rows() -> Iterator[Row]:
    cores = len(os.sched_getaffinity(0))
    for workload in CPU_WORKLOADS:
        # With one thread too where dispatch, not arithmetic, is what takes the time.
        for threads in (cores, 1) if workload.name == TINY and cores > 1 else (cores,):
            torch.set_num_threads(threads)
            for optimizer in (SGD, ADAMW):
                yield from _table(workload, optimizer, LANES, workload.rounds)
    torch.set_num_threads(cores)
    for workload in CPU_WORKLOADS:
        for variant in VARIANTS:
            yield measure_memory(workload, MEMORY_LANES, ADAMW, variant)
    yield from compiled_rows()
    yield from accelerator_rows()


def _quick_rows() -> Iterator[Row]:
    """Everything once: one optimizer on each model, few lanes, one turn."""
    torch.set_num_threads(1)
    for workload, optimizer in zip(CPU_WORKLOADS, (SGD, ADAMW, SGD, ADAMW), strict=True):
        yield from measure_cell(workload, 2, optimizer, None, 1, CPU)
    yield from _table(CPU_WORKLOADS[0], ADAMW, (4,), 1)
    yield measure_memory(CPU_WORKLOADS[0], 2, SGD, "fused")
    yield from accelerator_rows(quick=True)


def _table(workload: Workload, optimizer: str, counts: tuple[int, ...], rounds: int) -> Iterator[Row]:
    profile = measure(workload, optimizer, max(counts))
    for lanes in counts:
        yield from measure_cell(workload, lanes, optimizer, choose(profile, lanes), rounds, CPU)


def _line(row: Row) -> str:
    cell = f"{row['model']:28s} {row['lanes']:3d} {row['optimizer']:6s}"
    if row["what"] == "memory":
        return f"{cell} {row['variant']:9s} {row['peak_bytes'] / 2**20:.0f} MiB"
    times = ", ".join(f"{name} {figure['median']:.2f}" for name, figure in row["milliseconds"].items())
    planned = f"; planned {row['planned']}" if row["what"] == "step" else ""
    return f"{cell} {row['what']:9s} ms: {times}{planned}"


if __name__ == "__main__":
    main()
