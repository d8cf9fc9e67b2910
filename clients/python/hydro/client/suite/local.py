"""A suite in a child process, for one process alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
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
_LOG_LINES = 40


@dataclass(frozen=True, slots=True)
class LocalSuite:
    """A running suite on free ports, its data in a temporary folder. It ends with this process."""

    coordinator_address: str
    tuner_address: str
    squeezer_addresses: tuple[str, ...]
    """One for each GPU."""
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
        data = Path(tempfile.mkdtemp(prefix="hydro-"))
        # Whoever Postgres runs as passes through, but cannot look in.
        data.chmod(0o711)
        with tempfile.TemporaryFile("w+") as log:
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
                log.seek(0)
                raise Unavailable(f"the suite does not start:\n{_end(log.read())}")
        told = json.loads(line)
        return cls(
            coordinator_address=told["coordinator"],
            tuner_address=told["tuner"],
            squeezer_addresses=tuple(told["squeezers"]),
            data_directory=data,
            gate_directory=Path(told["gate_directory"]),
            process=process,
        )

    @property
    def squeezer_address(self) -> str:
        """The first GPU's squeezer."""
        return self.squeezer_addresses[0]

    def log(self, service: str) -> str:
        """The end of a service's log."""
        return log_tail(self.data_directory / "logs" / f"{service}.log", lines=_LOG_LINES)

    def stop(self) -> None:
        """Stops all its processes; they remove its data. A second call does nothing."""
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
            shutil.rmtree(self.data_directory, ignore_errors=True)


def _end(text: str) -> str:
    return "\n".join(text.splitlines()[-_LOG_LINES:])
