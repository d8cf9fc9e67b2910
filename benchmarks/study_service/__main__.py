"""`python -m benchmarks.study_service --json FILE [--quick]`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.functions import FUNCTIONS
from benchmarks.machine import describe
from benchmarks.report import read_options, write_report
from benchmarks.study_service.regret import STALENESS, measure_regret
from benchmarks.study_service.servers import Servers, temporary_folder
from benchmarks.study_service.summary import MOST_TRIALS, empty_summary, summarize
from benchmarks.study_service.throughput import Row, measure_cell
from benchmarks.study_service.tpe import measure_tpe

CLIENTS = (1, 8, 32)
ROUNDS, WINDOW_SECONDS = 3, 10.0
TPE_TRIALS, TPE_SECONDS, PEER_ASKS = (100, 1_000, 10_000), 60.0, 20

REGRET_TRIALS, REGRET_SEEDS = 100, 20


def main() -> None:
    """Measures, prints the rows as they come, and writes the report."""
    options = read_options("The study service against Optuna's RDBStorage and GrpcStorageProxy")
    machine = describe()
    rows = asyncio.run(_measure(options.quick))
    write_report(options.json, rows, empty_summary() if options.quick else summarize(rows), machine=machine)


async def _measure(quick: bool) -> list[Row]:
    rows: list[Row] = []
    start = time.monotonic()
    with temporary_folder() as folder:
        servers = Servers(Path(folder))
        try:
            await servers.start()
            async for row in _quick_rows(servers) if quick else _rows(servers):
                rows.append(row)
                print(f"{time.monotonic() - start:6.1f} s  {_line(row)}", flush=True)
        finally:
            await servers.stop()
    return rows


async def _rows(servers: Servers) -> AsyncIterator[Row]:
    for trials in (0, MOST_TRIALS):
        for clients in CLIENTS:
            async for row in measure_cell(servers, clients, trials, ROUNDS, WINDOW_SECONDS):
                yield row
    for trials in TPE_TRIALS:
        yield await measure_tpe(servers, trials, TPE_SECONDS, PEER_ASKS)
    for name in FUNCTIONS:
        yield await asyncio.to_thread(measure_regret, name, REGRET_TRIALS, REGRET_SEEDS)


async def _quick_rows(servers: Servers) -> AsyncIterator[Row]:
    """Everything once: two clients, few trials, short windows."""
    async for row in measure_cell(servers, 2, 20, 1, 1.0):
        yield row
    yield await measure_tpe(servers, 100, 2.0, 2)
    yield measure_regret("branin", 20, 1)


def _line(row: Row) -> str:
    if row["what"] == "regret":
        return f"{row['function']}: regret " + ", ".join(f"{each} {row[each]['mean']:.3g}" for each in STALENESS)
    if row["what"] == "tpe":
        asks, staleness = row["ask_ms"], row["staleness_results"]
        return f"TPE, {row['trials_in_study']:6d} trials: ask ms {_shown(asks)}, staleness {staleness}"
    latencies = ", ".join(f"{kind} {_shown(each)}" for kind, each in row["milliseconds"].items())
    cell = f"{row['system']:12s} {row['clients']:2d} clients {row['trials_in_study']:6d} trials"
    cpu = row["cpu_ms_per_trial"]["total"]
    return f"{cell}: {row['trials_per_second']:7.1f} trials/s; ms {latencies}; {cpu:.1f} CPU ms per trial"


def _shown(quantiles: dict[str, float | None]) -> str:
    return "/".join("-" if each is None else f"{each:.1f}" for each in quantiles.values())


if __name__ == "__main__":
    main()
