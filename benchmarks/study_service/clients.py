"""A process with clients of one system: python -m benchmarks.study_service.clients SYSTEM TARGET STUDY COUNT SEED.

It reads commands as lines of JSON: `{"warm": true}` runs one trial of one client, and `{"start": s, "until": s}`, in
seconds of `time.monotonic`, runs all clients. It answers each with a line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from random import Random
from typing import Any

from benchmarks.study_service.workload import THREE_PARAMETERS, Client, run

HYDRO_UNARY, HYDRO_STREAM, HYDRO_SDK = "hydro_unary", "hydro_stream", "hydro_sdk"
OPTUNA_RDB, OPTUNA_PROXY = "optuna_rdb", "optuna_proxy"
SYSTEMS = (HYDRO_UNARY, HYDRO_STREAM, HYDRO_SDK, OPTUNA_RDB, OPTUNA_PROXY)
IN_ONE_PROCESS = (HYDRO_UNARY, HYDRO_STREAM)
"""Systems whose clients are coroutines of one process; others have a process for each client."""


def make(system: str, target: str, study: str, count: int, seed: int) -> Sequence[Client]:
    """The clients, once connected. A system's libraries are loaded for its own clients alone."""
    if system in (OPTUNA_RDB, OPTUNA_PROXY):
        from benchmarks.study_service.optuna_clients import OptunaClient, proxy_storage, rdb_storage, silence

        silence()
        storage = rdb_storage(target) if system == OPTUNA_RDB else proxy_storage(target)
        return [OptunaClient(storage, study, THREE_PARAMETERS, seed)]
    from benchmarks.study_service import hydro_clients

    if system == HYDRO_UNARY:
        return hydro_clients.unary_clients(target, study, count)
    if system == HYDRO_STREAM:
        return hydro_clients.stream_clients(target, study, count)
    return [hydro_clients.SdkClient(target, study)]


async def warm(clients: Sequence[Client]) -> dict[str, float]:
    """One trial of the first client: what was never loaded is loaded by it."""
    start = time.monotonic()
    await clients[0].ask()
    await clients[0].report(0, 0.5)
    await clients[0].tell(0.5)
    return {"seconds": time.monotonic() - start}


async def measure(clients: Sequence[Client], randoms: Sequence[Random], start: float, until: float) -> dict[str, Any]:
    """Runs every client in the window, and gives their samples and this process' CPU time."""
    await asyncio.sleep(start - time.monotonic())
    before = time.process_time()
    samples = await asyncio.gather(
        *(run(client, random, until) for client, random in zip(clients, randoms, strict=True))
    )
    return {"samples": [asdict(each) for each in samples], "cpu_seconds": time.process_time() - before}


async def serve() -> None:
    """Answers commands until standard input ends."""
    system, target, study, count, seed = sys.argv[1:]
    clients = make(system, target, study, int(count), int(seed))
    randoms = [Random(f"{seed}/{index}") for index in range(len(clients))]
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        answer = await (warm(clients) if "warm" in command else measure(clients, randoms, **command))
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    asyncio.run(serve())
