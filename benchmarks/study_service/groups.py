"""The client processes of one system in one cell: started, warmed up, run in rounds, ended."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks.study_service.clients import IN_ONE_PROCESS
from benchmarks.study_service.servers import Servers
from benchmarks.study_service.workload import OPERATIONS

_LINE_BYTES = 2**28
_LEAD_SECONDS = 0.3


@dataclass(slots=True)
class Round:
    """One window of one system. Units: milliseconds of latency, CPU seconds by part, trials per second."""

    latencies: dict[str, list[float]] = field(default_factory=lambda: {"ask": [], "report": [], "tell": []})
    trials: float = 0.0
    trials_per_second: float = 0.0
    cpu_seconds: dict[str, float] = field(default_factory=dict)


class Group:
    """Clients of one system on one study."""

    def __init__(self, system: str, target: str, study: str, count: int) -> None:
        alone = system not in IN_ONE_PROCESS
        self._arguments = [
            [system, target, study, str(1 if alone else count), str(seed)] for seed in range(count if alone else 1)
        ]
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(self) -> float:
        """Starts the processes, has each load what it needs by one trial, and gives the seconds that this took."""
        self._processes = [await _start(each) for each in self._arguments]
        # Imports are no part of the cold load: every process answers once they are done.
        begin = time.monotonic()
        await self._all({"start": begin, "until": begin})
        begin = time.monotonic()
        await self._all({"warm": True})
        return time.monotonic() - begin

    async def run(self, servers: Servers, seconds: float) -> Round:
        """Runs every client for so long."""
        start = time.monotonic() + _LEAD_SECONDS
        before = servers.cpu_seconds()
        answers = await self._all({"start": start, "until": start + seconds})
        after = servers.cpu_seconds()
        found = Round(cpu_seconds={name: after[name] - before[name] for name in after})
        found.cpu_seconds["clients"] = sum(each["cpu_seconds"] for each in answers)
        samples = [sample for each in answers for sample in each["samples"]]
        for kind, values in found.latencies.items():
            values += [value for sample in samples for value in sample[kind]]
        found.trials = sum(sample["operations"] for sample in samples) / OPERATIONS
        found.trials_per_second = sum(sample["inside"] for sample in samples) / OPERATIONS / seconds
        return found

    async def close(self) -> None:
        """Ends the processes."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._processes:
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()
        self._processes = []

    async def _all(self, command: dict[str, Any]) -> list[dict[str, Any]]:
        return await asyncio.gather(*(_exchange(each, command) for each in self._processes))


async def _start(arguments: list[str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.study_service.clients", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LINE_BYTES,
    )


async def _exchange(process: asyncio.subprocess.Process, command: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(command).encode() + b"\n")
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"a client process ended with {await process.wait()}: its error stands above")
    found: dict[str, Any] = json.loads(line)
    return found
