"""What the suite consists of: each service's command, environment and place."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from hydro.client.suite.child import ChildSpec
from hydro.client.suite.health import is_serving
from hydro.client.suite.local_devices import local_devices
from hydro.client.suite.ports import Addresses
from hydro.client.suite.postgres import LocalPostgres, prepare_postgres
from hydro.client.suite.settings import SuiteSettings

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder below it is made for this user alone
_DATABASE_VARIABLE = "HYDRO_DATABASE_URL"
_DEVICES_VARIABLE = "HYDRO_COORDINATOR_DEVICES"
_SQUEEZER_DEVICE_VARIABLE = "HYDRO_SQUEEZER_DEVICE"


@dataclass(frozen=True, slots=True)
class SuitePlan:
    """Where a suite's parts are.

    `postgres` is None when the database is someone else's; `database_url` holds in both cases.
    """

    addresses: Addresses
    data_directory: Path
    gate_directory: Path
    database_url: str
    postgres: LocalPostgres | None

    @property
    def logs(self) -> Path:
        """Folder of a log for each child."""
        return self.data_directory / "logs"

    @property
    def artifacts(self) -> Path:
        """Folder of checkpoints and surrogates."""
        return self.data_directory / "artifacts"


def plan_suite(settings: SuiteSettings, addresses: Addresses) -> SuitePlan:
    """Makes the folders, and settles where the database is.

    Raises:
        FailedPrecondition: Postgres cannot be started here; the message says what to do.
    """
    data = settings.data_directory.expanduser().resolve()
    for folder in (data, data / "logs", data / "artifacts"):
        folder.mkdir(parents=True, exist_ok=True)
    postgres = None
    if settings.database_url is None:
        postgres = prepare_postgres(data / "postgres", settings.postgres_binaries)
    return SuitePlan(
        addresses=addresses,
        data_directory=data,
        gate_directory=settings.gate_directory or _gate_directory(data),
        database_url=settings.database_url or (postgres.url if postgres else ""),
        postgres=postgres,
    )


def children(plan: SuitePlan, environment: Mapping[str, str]) -> list[ChildSpec]:
    """The suite's processes; they end in reverse order.

    `environment` is the caller's: what the services are told in it holds, but for where they are.
    """
    database = [plan.postgres.spec(plan.logs / "postgres.log")] if plan.postgres is not None else []
    squeezers = [_squeezer(plan, environment, number) for number in range(len(plan.addresses.squeezers))]
    return [*database, _tuner(plan, environment), *squeezers, _coordinator(plan, environment)]


def _tuner(plan: SuitePlan, environment: Mapping[str, str]) -> ChildSpec:
    return _service("tuner", plan.addresses.tuner, plan, environment, {})


def _squeezer(plan: SuitePlan, environment: Mapping[str, str], number: int) -> ChildSpec:
    """The squeezer of a GPU; where there are several, their devices' names end in the GPU's number."""
    if len(plan.addresses.squeezers) == 1:
        return _service("squeezer", plan.addresses.squeezer, plan, environment, {})
    device = environment.get(_SQUEEZER_DEVICE_VARIABLE, "devices/local-gpu")
    own = {_SQUEEZER_DEVICE_VARIABLE: f"{device}-{number}", "HYDRO_SQUEEZER_GPU_INDEX": str(number)}
    made = _service("squeezer", plan.addresses.squeezers[number], plan, environment, own)
    return replace(made, name=f"squeezer-{number}", log_path=plan.logs / f"squeezer-{number}.log")


def _coordinator(plan: SuitePlan, environment: Mapping[str, str]) -> ChildSpec:
    extra = {
        _DATABASE_VARIABLE: plan.database_url,
        "HYDRO_COORDINATOR_TUNER_ADDRESS": plan.addresses.tuner,
        "HYDRO_COORDINATOR_SQUEEZER_ADDRESSES": ",".join(plan.addresses.squeezers),
        "HYDRO_COORDINATOR_ARTIFACT_URI": plan.artifacts.as_uri(),
        "HYDRO_COORDINATOR_LOG_DIRECTORY": str(plan.logs / "workers"),
        _DEVICES_VARIABLE: environment.get(_DEVICES_VARIABLE, local_devices()),
    }
    return _service("coordinator", plan.addresses.coordinator, plan, environment, extra)


def _service(
    name: str, address: str, plan: SuitePlan, environment: Mapping[str, str], extra: Mapping[str, str]
) -> ChildSpec:
    inherited = {key: value for key, value in environment.items() if key != _DATABASE_VARIABLE}
    own = {
        f"HYDRO_{name.upper()}_LISTEN_ADDRESS": address,
        "HYDRO_GATE_DIRECTORY": str(plan.gate_directory),
        "PYTHONUNBUFFERED": "1",
        # Else it lies among the machine's temporary files, and stays when the suite's data goes.
        "TORCHINDUCTOR_CACHE_DIR": str(plan.data_directory / "torch"),
    }
    return ChildSpec(
        name=name,
        command=[sys.executable, "-m", f"hydro.{name}"],
        environment={**inherited, **own, **extra},
        log_path=plan.logs / f"{name}.log",
        is_ready=partial(is_serving, address),
    )


def _gate_directory(data: Path) -> Path:
    # On a disk, writing the page back would stall those who write to it.
    parent = _SHARED_MEMORY if os.access(_SHARED_MEMORY, os.W_OK) else data
    digest = hashlib.sha256(str(data).encode()).hexdigest()[:12]
    folder = parent / f"hydro-gates-{os.geteuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def remove_folders(plan: SuitePlan) -> None:
    """Removes all that the suite stored: for a suite whose data nobody wants."""
    shutil.rmtree(plan.gate_directory, ignore_errors=True)
    shutil.rmtree(plan.data_directory, ignore_errors=True)
    if plan.postgres is not None:
        shutil.rmtree(plan.postgres.socket_folder, ignore_errors=True)
