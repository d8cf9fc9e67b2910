"""Settings of a process: the environment first, then the TOML file that HYDRO_CONFIG names."""

from __future__ import annotations

import os
from typing import Literal

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource


class Settings(BaseSettings):
    """What every process has. A subclass sets its own prefix; the file holds the same names in lower case."""

    model_config = SettingsConfigDict(env_prefix="HYDRO_", extra="ignore", populate_by_name=True)

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments before the environment before the file."""
        file = TomlConfigSettingsSource(settings_cls, os.environ.get("HYDRO_CONFIG"))
        return init_settings, env_settings, file


class ServerSettings(Settings):
    """What every service has."""

    listen_address: str
    """host:port; port 0 takes a free one."""
    metrics_port: int | None = None
    """Port of the Prometheus endpoint. None: no endpoint."""
    drain_seconds: float = 5.0
    """After SIGTERM, running calls have so long to end."""
