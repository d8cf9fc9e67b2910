"""Settings of the tuner: HYDRO_TUNER_* and the TOML file that HYDRO_CONFIG names."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from hydro.kit.settings import ServerSettings
from hydro.tuner.building.limits import BuildLimits


class TunerSettings(ServerSettings):
    """What can be set of a tuner."""

    model_config = SettingsConfigDict(env_prefix="HYDRO_TUNER_", extra="ignore", populate_by_name=True)

    listen_address: str = "localhost:7401"
    build_timeout_seconds: float = Field(default=600.0, gt=0)
    """A build that takes longer is killed, and its surrogate fails."""
    ladder_timeout_seconds: float = Field(default=3600.0, ge=0)
    """What a build may take longer whose study asks for the ladder: some tens of short trainings."""
    build_memory_bytes: int = Field(default=8 * 2**30, gt=0)
    """Resident memory of a build; one that takes more is killed, and its surrogate fails."""
    build_threads: int | None = Field(default=None, ge=1)
    """Threads of torch in a build: bundles run with as many. None: as many as the devices of a study give, at most this
    machine's cores, and 1 where nobody knows."""
    compile: bool = True
    """Measure how bundles run by way of torch.compile, where that may pay. Off: no bundle is compiled."""
    concurrent_builds: int = Field(default=1, ge=1)
    """Builds at once; the others wait. More than one measure each other in their profiles."""

    @property
    def build_limits(self) -> BuildLimits:
        """What one build may use."""
        return BuildLimits(
            self.build_timeout_seconds,
            self.build_memory_bytes,
            self.build_threads,
            compiles=self.compile,
            ladder_seconds=self.ladder_timeout_seconds,
        )
