"""Processes that the demo runs beside the suite."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from hydro.client.suite.child import log_tail
from hydro.kit.parent import tethered_command

_STOP_SECONDS = 10.0


class BackgroundProcess:
    """A child process that goes on until it is stopped, and dies with this one."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log_path: Path) -> None:
        self._log_path = log_path
        # Else torch's compile cache lies among the machine's temporary files, and stays.
        cache = {"TORCHINDUCTOR_CACHE_DIR": str(log_path.parent / "torch")}
        with log_path.open("wb") as log:
            self._process = subprocess.Popen(
                tethered_command(command),
                env={**os.environ, **cache, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def has_ended(self) -> bool:
        """It stopped, or died."""
        return self._process.poll() is not None

    def log(self) -> str:
        """The end of its log."""
        return log_tail(self._log_path)

    def stop(self) -> None:
        """Ends it. A second call does nothing."""
        if self.has_ended:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
