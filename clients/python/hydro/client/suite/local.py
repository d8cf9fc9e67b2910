"""A suite in a child process, for one process alone."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from hydro.client.suite.child import log_tail
from hydro.kit.errors import Unavailable

_STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class LocalSuite:
    """A running suite on free ports, its data in a temporary folder. It ends with this process."""

    coordinator_address: str
    tuner_address: str
    squeezer_address: str
    data_directory: Path
    gate_directory: Path
    process: subprocess.Popen[str]

    @classmethod
    def start(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Starts the suite and waits until it serves.

        Args:
            environment: Settings of its services, over those of this process.

        Raises:
            Unavailable: it does not start; the message has the end of its log.
        """
        folder = Path(tempfile.mkdtemp(prefix="hydro-"))
        # Whoever Postgres runs as passes through, but cannot look in.
        folder.chmod(0o711)
        data = folder / "data"
        with (folder / "suite.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "hydro.client.suite"],
                env={**os.environ, **(environment or {}), "HYDRO_DATA_DIRECTORY": str(data)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            process.wait(_STOP_SECONDS)
            raise Unavailable(f"the suite does not start:\n{log_tail(folder / 'suite.log', lines=40)}")
        told = json.loads(line)
        return cls(
            coordinator_address=told["coordinator"],
            tuner_address=told["tuner"],
            squeezer_address=told["squeezer"],
            data_directory=data,
            gate_directory=Path(told["gate_directory"]),
            process=process,
        )

    def log(self, service: str) -> str:
        """The end of a service's log."""
        return log_tail(self.data_directory / "logs" / f"{service}.log", lines=40)

    def stop(self) -> None:
        """Stops all its processes and removes its data. A second call does nothing."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            # Its children die with it.
            self.process.kill()
            self.process.wait()
        self._remove_folder()

    def _remove_folder(self) -> None:
        folder = self.data_directory.parent
        (folder / "suite.log").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
