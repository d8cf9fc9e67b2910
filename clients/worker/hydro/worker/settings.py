"""Settings of a worker process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from hydro.kit.settings import Settings


class WorkerSettings(Settings):
    """Read from HYDRO_COORDINATOR_ADDRESS, HYDRO_WORKER_DEVICE and so on."""

    coordinator_address: str = "localhost:7400"
    worker_device: str = ""
    """devices/* or devices/*/slots/*: where this process runs. Empty: devices/ and the host's name, if it registers."""
    worker_register: bool = False
    """The worker brings its device: it registers it, and stays when there is no work."""
    worker_idle_seconds: float = Field(default=30.0, ge=0)
    """The process ends after so long without work, unless it registers its device."""
    worker_cores: str = ""
    """CPU cores that the process is pinned to, as "0,1"; empty: not pinned."""
    worker_threads: int | None = Field(default=None, ge=1)
    """Threads of one op. None: as many as cores it is pinned to, else torch's own choice."""
    worker_accelerator: bool | None = None
    """Use a GPU. None: where CUDA_VISIBLE_DEVICES names one."""
    worker_mps: bool = False
    """On a slot's GPU: go through CUDA's MPS, if its daemon runs. A fatal fault of any client then ends all of them."""
    gate_directory: Path | None = None
    """Where gate pages are; needed on a slot."""

    @model_validator(mode="after")
    def _check_device(self) -> Self:
        if self.worker_register and not self.worker_device:
            self.worker_device = f"devices/{os.uname().nodename}"
        if not self.worker_device:
            raise ValueError("set HYDRO_WORKER_DEVICE to a registered device, or HYDRO_WORKER_REGISTER=1 to bring one")
        if self.worker_register and self.is_on_slot:
            raise ValueError(f"{self.worker_device} is a slot: its squeezer registers it, HYDRO_WORKER_REGISTER cannot")
        return self

    @property
    def cores(self) -> frozenset[int]:
        """The cores to be pinned to."""
        return frozenset(int(core) for core in self.worker_cores.split(",") if core.strip())

    @property
    def is_on_slot(self) -> bool:
        """Whether the device is a GPU's recurring idle time, where others come first."""
        return "/slots/" in self.worker_device
