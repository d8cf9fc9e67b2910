"""Settings of the squeezer: HYDRO_SQUEEZER_*, HYDRO_GATE_DIRECTORY and the TOML file that HYDRO_CONFIG names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from hydro.kit.settings import ServerSettings
from hydro.squeezer.controller import ControllerSettings
from hydro.squeezer.gatekeeper import WatchdogSettings
from hydro.squeezer.guard import GuardSettings
from hydro.squeezer.squeezer import SqueezerSettings


class SqueezerProcessSettings(ServerSettings):
    """What can be set of a squeezer."""

    model_config = SettingsConfigDict(env_prefix="HYDRO_SQUEEZER_", extra="ignore", populate_by_name=True)

    listen_address: str = "localhost:7402"
    gate_directory: Path = Field(default=Path("/dev/shm/hydro"), validation_alias="HYDRO_GATE_DIRECTORY")
    """Where the shared pages are: on one machine the same for the squeezer, the pipeline run and the workers."""
    device: str = Field(default="devices/local-gpu-0", pattern=r"^devices/[a-z0-9][a-z0-9-]*$")
    """Resource name of the GPU whose bubbles are filled."""
    gpu: Literal["auto", "nvml", "simulated"] = "auto"
    """auto: NVML where there is one."""
    gpu_index: int = Field(default=0, ge=0)
    simulated_memory_bytes: int = Field(default=8 * 2**30, gt=0)
    """Memory of a simulated GPU."""
    slowdown_budget: float = Field(default=0.01, gt=0, lt=1)
    """Share of its step time that the pipeline run may lose at most."""
    blank_interval_steps: int = Field(default=20, ge=2)
    """Each so many steps, one stays without trials: what the others are compared with."""
    steps_before_offer: int = Field(default=5, ge=1)
    """A slot is offered when so many steps were observed."""
    overdue_seconds: float = Field(default=1.0, gt=0)
    """A worker whose segment runs so long past its deadline loses the slot."""
    kill_seconds: float = Field(default=2.0, gt=0)
    """A worker that lost the slot and still runs so long after is killed."""

    def squeezer(self) -> SqueezerSettings:
        """Gives the domain's numbers."""
        return SqueezerSettings(
            controller=ControllerSettings(
                guard=GuardSettings(slowdown_budget=self.slowdown_budget), blank_interval=self.blank_interval_steps
            ),
            watchdog=WatchdogSettings(overdue_seconds=self.overdue_seconds, kill_seconds=self.kill_seconds),
            steps_before_offer=self.steps_before_offer,
        )
