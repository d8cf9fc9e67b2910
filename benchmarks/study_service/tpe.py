"""Asks with TPE while trials come and go at a steady pace, and what an ask costs Optuna in memory."""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator
from typing import Any

import optuna

from benchmarks.study_service import hydro_clients
from benchmarks.study_service.filling import fill_hydro
from benchmarks.study_service.optuna_clients import distributions, silence
from benchmarks.study_service.servers import Servers
from benchmarks.study_service.throughput import quantiles
from benchmarks.study_service.workload import SIX_PARAMETERS
from hydro.api.coordinator.v1 import study_service_pb2 as calls
from hydro.api.coordinator.v1.study_service_pb2_grpc import StudyServiceStub
from hydro.kit.channel import open_channel
from hydro.kit.values import values_of

TRIALS_PER_SECOND = 5.0
TRAINING_SECONDS = 1.2
PARALLELISM = 8
"""Six trials are open on average: each trains for 1.2 s, and five start in a second."""

Row = dict[str, Any]


async def measure_tpe(servers: Servers, trials: int, seconds: float, peer_asks: int) -> Row:
    """A study of so many trials is asked five times a second for a while; the first ask alone may wait for the load."""
    name = f"tpe-{trials}"
    study = hydro_clients.create_study(servers.coordinator_address, name, SIX_PARAMETERS, "tpe", PARALLELISM)
    await fill_hydro(servers.url, study, SIX_PARAMETERS, trials)
    await servers.restart("coordinator")
    channel = open_channel(servers.coordinator_address)
    stub = StudyServiceStub(channel)
    cold = await _trial(stub, study, training_seconds=0.0)
    cpu = servers.cpu_seconds()["coordinator"]
    start = time.monotonic()
    asks = [each async for each in _paced(stub, study, seconds)]
    elapsed = time.monotonic() - start
    row = {
        "what": "tpe",
        "trials_in_study": trials,
        "parallelism": PARALLELISM,
        "trials_per_second": len(asks) / elapsed,
        "first_ask_ms": cold,
        "ask_ms": quantiles(asks),
        "coordinator_cpu_ms_per_trial": 1000 * (servers.cpu_seconds()["coordinator"] - cpu) / max(1, len(asks)),
        "staleness_results": _staleness(servers.metrics_address),
        "optuna_in_memory_ask_ms": await asyncio.to_thread(optuna_asks, trials, peer_asks),
    }
    await channel.close()
    return row


async def _paced(stub: Any, study: str, seconds: float) -> AsyncIterator[float]:
    """Starts trials on time, whatever became of those before, and gives the latency of each ask."""
    start, running = time.monotonic(), []
    for index in range(int(seconds * TRIALS_PER_SECOND)):
        await asyncio.sleep(start + index / TRIALS_PER_SECOND - time.monotonic())
        running.append(asyncio.create_task(_trial(stub, study, TRAINING_SECONDS)))
    for each in running:
        yield await each


async def _trial(stub: Any, study: str, training_seconds: float) -> float:
    """Runs one trial, and gives the milliseconds of its ask."""
    begin = time.monotonic()
    request = calls.SuggestTrialsRequest(parent=study, count=1, request_id=str(uuid.uuid4()))
    answer = await stub.SuggestTrials(request)
    latency = (time.monotonic() - begin) * 1000
    if not answer.trials:
        raise RuntimeError(f"{study} gives no trial: asks take so long that {PARALLELISM} are open")
    (trial,) = answer.trials
    await asyncio.sleep(training_seconds)
    value = float(values_of(trial.hyperparameters)["momentum"])
    await stub.CompleteTrial(calls.CompleteTrialRequest(name=trial.name, value=value))
    return latency


_STALENESS = re.compile(
    r"^hydro_coordinator_suggestion_staleness_results_(bucket\{le=\"(.+)\"\}|sum|count) (\S+)$", re.M
)


def _staleness(address: str) -> dict[str, float] | None:
    """Results that came between a suggestion's search and its hand-over: mean, and upper bounds by share of trials."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        found = _STALENESS.findall(answer.read().decode())
    totals = {kind: float(value) for kind, _, value in found if kind in ("sum", "count")}
    if not totals.get("count"):
        return None
    bounds = {bound: float(value) for _, bound, value in found if bound}
    return {"mean": totals["sum"] / totals["count"]} | {
        f"p{share}": min(float(bound) for bound, count in bounds.items() if count >= totals["count"] * share / 100)
        for share in (50, 99)
        if bounds
    }


def optuna_asks(trials: int, asks: int) -> dict[str, float | None]:
    """Asks of Optuna's TPE in this process, without any storage: what its own users wait at the least."""
    silence()
    space = distributions(SIX_PARAMETERS)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    sampled = [study.ask(space) for _ in range(min(trials, 100))]
    known = [
        optuna.trial.create_trial(params=each.params, distributions=space, value=float(each.number)) for each in sampled
    ]
    full = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, multivariate=True, constant_liar=True))
    full.add_trials([known[index % len(known)] for index in range(trials)])
    milliseconds = []
    for _ in range(asks):
        begin = time.perf_counter()
        trial = full.ask(space)
        milliseconds.append((time.perf_counter() - begin) * 1000)
        full.tell(trial, trial.params["momentum"])
    return quantiles(milliseconds)
