"""What the coordinator can be told."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from hydro.coordinator.device import LOCAL, Device, DeviceKind
from hydro.coordinator.names import DeviceName
from hydro.coordinator.quotas import Quota, read_quotas
from hydro.kit.settings import ServerSettings

_DEVICE = re.compile(r"(cpu|gpu):(\d+)")


class CoordinatorSettings(ServerSettings):
    """HYDRO_COORDINATOR_*, and the variables that services share."""

    model_config = SettingsConfigDict(env_prefix="HYDRO_COORDINATOR_")

    listen_address: str = "localhost:7400"
    database_url: str = Field(default="", validate_default=True, validation_alias="HYDRO_DATABASE_URL")
    """postgresql://user:password@host:port/database, or with ?host=SOCKET_FOLDER."""
    tuner_address: str = "localhost:7401"
    squeezer_addresses: Annotated[tuple[str, ...], NoDecode] = ()
    """Separated by commas."""
    devices: Annotated[tuple[str, ...], NoDecode] = ()
    """Local exclusive devices, separated by commas: cpu:0 is core 0, gpu:0 the first GPU."""
    worker_address: str | None = None
    """Where local workers reach the coordinator. None: at its listen_address."""
    peer_address: str | None = None
    """Where other coordinators over the same database reach this one. None: at its listen_address, on one machine."""
    ownership_seconds: float = Field(default=5.0, gt=0)
    """So long after its last word the other coordinators take over what this one owns."""
    artifact_uri: str = Field(default_factory=lambda: (Path(tempfile.gettempdir()) / "hydro-artifacts").as_uri())
    log_directory: Path = Field(default_factory=lambda: Path(tempfile.gettempdir()) / "hydro-workers")
    lease_seconds: float = Field(default=15.0, gt=0)
    checkpoint_interval_seconds: float = Field(default=30.0, gt=0)
    max_lanes: int = Field(default=64, ge=1)
    """Fusion counts are profiled up to this one."""
    max_waiting_calls: int = Field(default=1024, ge=1)
    """Calls that wait for the database; one more is refused with RESOURCE_EXHAUSTED, and may come again."""
    search_processes: int = Field(default=2, ge=1)
    """Processes that compute suggestions; each starts when it is first needed, and studies are shared among them."""
    patience_seconds: float = Field(default=2.0, ge=0)
    """A trial waits so long for a lane in a running bundle before it is planned into a bundle of its own."""

    quotas: Annotated[dict[str, Quota], NoDecode] = Field(default_factory=dict)
    """JSON, or the path of a file with it: {"*": {"open_studies": 20}, "vision": {"reports_per_second": 500}}."""

    @field_validator("quotas", mode="before")
    @classmethod
    def _read_quotas(cls, value: object) -> object:
        return read_quotas(value) if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, value: str) -> str:
        if not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("set HYDRO_DATABASE_URL to postgresql://user:password@host:port/database")
        return value

    @field_validator("squeezer_addresses", "devices", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("devices")
    @classmethod
    def _check_devices(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            if not _DEVICE.fullmatch(each):
                raise ValueError(f"{each!r} is not a device: give cpu:CORE or gpu:INDEX, separated by commas")
        return value

    def local_devices(self) -> list[Device]:
        """The exclusive devices of this machine that workers are started on."""
        return [_device(each) for each in self.devices]


def _device(text: str) -> Device:
    kind, number = text.split(":")
    name = DeviceName(f"devices/local-{kind}-{number}")
    if kind == "cpu":
        return Device(name, DeviceKind.CPU, model="cpu", cpu_cores=(int(number),), threads=1, source=LOCAL)
    return Device(name, DeviceKind.GPU, model="gpu", gpu_index=int(number), source=LOCAL)
