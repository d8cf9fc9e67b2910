"""`python -m benchmarks.search --json FILE [--quick]`.

Each row of the full run is kept beside FILE, in FILE.parts, until the report is written: an interrupted run goes
on where it stopped.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from typing import Any

from benchmarks.kept import Kept
from benchmarks.machine import describe
from benchmarks.report import read_options, write_report
from benchmarks.search import optuna_loop, served
from benchmarks.search.cells import SEEDS, Cell, cells, quick_cells
from benchmarks.search.subjects import RESOLUTION, subject
from benchmarks.search.summary import empty_summary, ratio_with_interval, summarize
from hydro.api.coordinator.v1.study_service_pb2_grpc import StudyServiceStub
from hydro.client import Client
from hydro.kit.channel import open_channel

Row = dict[str, Any]
AT_ONCE = 4
"""Studies that are driven at once: no clock is read here, and most of a study is waiting."""


def main() -> None:
    """Searches with both, prints the rows as they come, and writes the report."""
    options = read_options("Our samplers as they are served, against Optuna's own loop")
    machine = describe()
    chosen, seeds = (list(quick_cells()), 2) if options.quick else (list(cells()), SEEDS)
    os.environ.setdefault("HYDRO_COORDINATOR_DEVICES", "")
    # One thread each: they run side by side.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    kept = Kept(options.json, "search")
    with (
        Client.local() as client,
        ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        rows = _rows(kept, chosen, seeds, lambda cell: _measured(client, pool, cell, range(seeds)))
    write_report(options.json, rows, empty_summary() if options.quick else summarize(rows), machine=machine)
    kept.remove()


def _rows(kept: Kept, chosen: Sequence[Cell], seeds: int, measured: Callable[[Cell], Row]) -> list[Row]:
    rows, start = [], time.monotonic()
    for cell in chosen:
        name, settings = f"{cell.sampler} {cell.parallelism} {cell.subject}", {**asdict(cell), "seeds": seeds}
        row = kept.get(name, settings)
        if row is None:
            row = measured(cell)
            kept.put(name, settings, row)
        rows.append(row)
        print(f"{time.monotonic() - start:6.1f} s  {_line(row)}", flush=True)
    return rows


def _measured(client: Client, pool: ProcessPoolExecutor, cell: Cell, seeds: Sequence[int]) -> Row:
    theirs = [pool.submit(optuna_loop.regret, cell, seed) for seed in seeds]
    ours = asyncio.run(_served(client, cell, seeds))
    row: Row = {
        "what": "regret",
        "sampler": cell.sampler,
        "parallelism": cell.parallelism,
        "subject": cell.subject,
        "trials": cell.trials,
        "seeds": len(seeds),
        "resolution": RESOLUTION * subject(cell.subject).spread,
        "regrets": ours,
        "optuna_regrets": [each.result() for each in theirs],
    }
    row["ratio"], row["ratio_lower_95"], row["ratio_upper_95"] = ratio_with_interval(row)
    return row


async def _served(client: Client, cell: Cell, seeds: Sequence[int]) -> list[float]:
    free = asyncio.Semaphore(AT_ONCE)
    async with open_channel(client.address) as channel:
        stub = StudyServiceStub(channel)

        async def one(seed: int) -> float:
            async with free:
                study = await asyncio.to_thread(served.create_study, client, cell, seed)
                return await served.regret(stub, study, cell, seed)

        return list(await asyncio.gather(*(one(seed) for seed in seeds)))


def _line(row: Row) -> str:
    cell = f"{row['sampler']:6s} {row['parallelism']} at a time  {row['subject']:13s} {row['trials']:3d} trials"
    return f"{cell}: ratio {row['ratio']:.3f} [{row['ratio_lower_95']:.3f}, {row['ratio_upper_95']:.3f}]"


if __name__ == "__main__":
    main()
