"""The suite's Postgres, our coordinator and Optuna's proxy on it, each a real process; and the CPU time they take."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import psutil

from benchmarks.study_service.optuna_clients import create_study as create_optuna_study
from hydro.client.suite.child import ChildSpec
from hydro.client.suite.health import is_serving
from hydro.client.suite.ports import HOST, free_ports
from hydro.client.suite.postgres import LocalPostgres, prepare_postgres
from hydro.client.suite.supervisor import Happening, Keeper, Report
from hydro.kit.clock import SystemClock

_CONNECTIONS = 300
_OPTUNA_DATABASE = "optuna"


class Servers:
    """Everything that is not a client, on one Postgres with the suite's settings."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._postgres = prepare_postgres(folder / "postgres")
        self.url = self._postgres.url
        self.optuna_url = self.url.replace(f"/{self._postgres_database}?", f"/{_OPTUNA_DATABASE}?")
        self.coordinator_address, self.proxy_address, self.metrics_address = (
            f"{HOST}:{port}" for port in free_ports(3)
        )
        self._keepers = {
            "postgres": Keeper(_with_connections(self._postgres, folder), SystemClock(), _tell),
            "coordinator": Keeper(self._coordinator(), SystemClock(), _tell),
            "optuna_proxy": Keeper(self._proxy(), SystemClock(), _tell),
        }

    _postgres_database = "hydro"

    @property
    def optuna_sqlalchemy_url(self) -> str:
        """The same database as Optuna takes it."""
        return self.optuna_url.replace("postgresql://", "postgresql+psycopg://", 1)

    async def start(self) -> None:
        """Starts Postgres with both databases and their tables, and then the services."""
        await self._keepers["postgres"].start()
        await self.execute(self.url, f"CREATE DATABASE {_OPTUNA_DATABASE}")
        create_optuna_study(self.optuna_sqlalchemy_url, "first")
        await self._keepers["coordinator"].start()
        await self._keepers["optuna_proxy"].start()

    async def restart(self, name: str) -> None:
        """Stops a service and starts it again: it knows nothing then but what Postgres has."""
        await self._keepers[name].stop()
        await self._keepers[name].start()

    async def stop(self) -> None:
        """Stops everything."""
        for keeper in reversed(self._keepers.values()):
            await keeper.stop()

    async def execute(self, url: str, *statements: str) -> None:
        """Runs statements, each by itself."""
        connection = await asyncpg.connect(url)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time of each service so far: of its process, its children, and theirs that have ended."""
        return {name: _cpu_seconds(keeper.process_id) for name, keeper in self._keepers.items()}

    def _coordinator(self) -> ChildSpec:
        settings = {
            "HYDRO_DATABASE_URL": self.url,
            "HYDRO_COORDINATOR_LISTEN_ADDRESS": self.coordinator_address,
            "HYDRO_COORDINATOR_METRICS_PORT": self.metrics_address.rpartition(":")[2],
            "HYDRO_COORDINATOR_ARTIFACT_URI": (self._folder / "artifacts").as_uri(),
            "HYDRO_COORDINATOR_LOG_DIRECTORY": str(self._folder / "workers"),
            "HYDRO_LOG_LEVEL": "WARNING",
        }
        return self._spec("coordinator", ["hydro.coordinator"], settings, partial(is_serving, self.coordinator_address))

    def _proxy(self) -> ChildSpec:
        host, _, port = self.proxy_address.rpartition(":")
        command = ["benchmarks.study_service.optuna_proxy", self.optuna_sqlalchemy_url, host, port]
        return self._spec("optuna_proxy", command, {}, partial(_accepts, self.proxy_address))

    def _spec(self, name: str, module: list[str], settings: Mapping[str, str], is_ready: Any) -> ChildSpec:
        return ChildSpec(
            name=name,
            command=[sys.executable, "-m", *module],
            environment={**os.environ, **settings},
            log_path=self._folder / f"{name}.log",
            is_ready=is_ready,
        )


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that Postgres' own account can pass through."""
    folder = tempfile.TemporaryDirectory(prefix="hydro-benchmark-")
    Path(folder.name).chmod(0o711)
    return folder


def _with_connections(postgres: LocalPostgres, folder: Path) -> ChildSpec:
    """The suite's own server, with room for the connections of 32 clients of Optuna."""
    spec = postgres.spec(folder / "postgres.log")
    return replace(spec, command=[*spec.command, "-c", f"max_connections={_CONNECTIONS}"])


def _tell(report: Report) -> None:
    if report.happening is Happening.DIED:
        print(f"{time.strftime('%H:%M:%S')} {report.child} died: {report.detail}", file=sys.stderr, flush=True)


async def _accepts(address: str) -> bool:
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            async with asyncio.timeout(1.0):
                await channel.channel_ready()
        except TimeoutError:
            return False
    return True


def _cpu_seconds(process_id: int | None) -> float:
    if process_id is None:
        return 0.0
    root = psutil.Process(process_id)
    return sum(_times(each) for each in [root, *root.children(recursive=True)])


def _times(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        # Its parent has counted it by now.
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)
