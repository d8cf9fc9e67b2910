"""Throughput cells: every system in turn, in rounds, on a study of its own with the same number of trials."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from benchmarks.study_service import hydro_clients
from benchmarks.study_service.clients import OPTUNA_PROXY, OPTUNA_RDB, SYSTEMS
from benchmarks.study_service.filling import fill_hydro, fill_optuna
from benchmarks.study_service.groups import Group, Round
from benchmarks.study_service.optuna_clients import create_study as create_optuna_study
from benchmarks.study_service.servers import Servers
from benchmarks.study_service.workload import THREE_PARAMETERS

_SERVICES = {OPTUNA_RDB: (), OPTUNA_PROXY: ("optuna_proxy",)}
"""Which service works for a system, beside Postgres and its clients; ours have the coordinator."""

Row = dict[str, Any]


async def measure_cell(servers: Servers, clients: int, trials: int, rounds: int, seconds: float) -> AsyncIterator[Row]:
    """Gives a row for each system.

    Args:
        servers: Where they run.
        clients: How many at once.
        trials: How many the study has before.
        rounds: Windows of each system; every other round goes through the systems backwards.
        seconds: Length of a window.
    """
    studies = {system: await _study(servers, system, clients, trials) for system in SYSTEMS}
    await servers.restart("coordinator")
    await servers.restart("optuna_proxy")
    groups = {system: Group(system, _target(servers, system), studies[system], clients) for system in SYSTEMS}
    try:
        cold = {system: await group.start() for system, group in groups.items()}
        found: dict[str, list[Round]] = {system: [] for system in SYSTEMS}
        for index in range(rounds):
            for system in SYSTEMS if index % 2 == 0 else reversed(SYSTEMS):
                found[system].append(await groups[system].run(servers, seconds))
    finally:
        for group in groups.values():
            await group.close()
    for system in SYSTEMS:
        cell = {"what": "throughput", "system": system, "clients": clients, "trials_in_study": trials}
        yield cell | {"cold_load_seconds": cold[system]} | summarize_rounds(system, found[system])


def summarize_rounds(system: str, rounds: Sequence[Round]) -> Row:
    """The figures of a cell: the median round's throughput, and quantiles over every operation of every round."""
    rates = sorted(each.trials_per_second for each in rounds)
    trials = sum(each.trials for each in rounds)
    parts = ("clients", "postgres", *_SERVICES.get(system, ("coordinator",)))
    cpu = {part: 1000 * sum(each.cpu_seconds[part] for each in rounds) / max(trials, 1) for part in parts}
    return {
        "trials": trials,
        "trials_per_second": rates[len(rates) // 2],
        "trials_per_second_of_rounds": [each.trials_per_second for each in rounds],
        "milliseconds": {
            kind: quantiles([value for each in rounds for value in each.latencies[kind]])
            for kind in ("ask", "report", "tell")
        },
        "cpu_ms_per_trial": cpu | {"total": sum(cpu.values())},
    }


def quantiles(values: Sequence[float]) -> dict[str, float | None]:
    """The median and the 99th percentile; None of nothing."""
    if not values:
        return {"p50": None, "p99": None}
    ordered = sorted(values)
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]}


async def _study(servers: Servers, system: str, clients: int, trials: int) -> str:
    name = f"{system.replace('_', '-')}-{clients}-{trials}"
    if system in (OPTUNA_RDB, OPTUNA_PROXY):
        create_optuna_study(servers.optuna_sqlalchemy_url, name)
        await fill_optuna(servers.optuna_url, name, THREE_PARAMETERS, trials)
        return name
    # A client that is interrupted leaves its trial open: there is room for more than one of each.
    created = hydro_clients.create_study(servers.coordinator_address, name, THREE_PARAMETERS, "random", 4 * clients)
    await fill_hydro(servers.url, created, THREE_PARAMETERS, trials)
    return created


def _target(servers: Servers, system: str) -> str:
    if system == OPTUNA_RDB:
        return servers.optuna_sqlalchemy_url
    return servers.proxy_address if system == OPTUNA_PROXY else servers.coordinator_address
