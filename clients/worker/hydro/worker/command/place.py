"""Where a trial's program runs: its directories, the lock on them, the port of its metrics."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

from hydro.worker.recipe import Grant, Lane


@dataclass(frozen=True, slots=True)
class TrialPlace:
    """The directories of one attempt at a trial.

    `directory` is the attempt's own, `checkpoint_directory` the trial's: every attempt finds there what the one before
    has left. `is_shared` says that other machines see it.
    """

    directory: Path
    checkpoint_directory: Path
    lock_path: Path
    is_shared: bool

    def make(self) -> None:
        """Makes the directories."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.checkpoint_directory.mkdir(parents=True, exist_ok=True)

    def lock(self) -> int | None:
        """Gives a descriptor that holds the trial's directories. None: an attempt before has not ended yet."""
        descriptor = os.open(self.lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor


def trial_place(grant: Grant, lane: Lane) -> TrialPlace:
    """Gives the place of a lane: in the folder of the study's artifacts, or on this machine if that is no folder."""
    uri = grant.recipe.artifact_uri
    system, path = fsspec.core.url_to_fs(uri)
    is_shared = isinstance(system, LocalFileSystem)
    if not is_shared:
        path = str(Path(tempfile.gettempdir()) / f"hydro-commands-{hashlib.sha256(uri.encode()).hexdigest()[:16]}")
    folder = Path(path) / "trials" / lane.trial.rsplit("/", 1)[1]
    return TrialPlace(
        folder / f"attempt-{grant.fencing_token}", folder / "checkpoint", folder / "attempt.lock", is_shared
    )


def free_port() -> int:
    """Gives a port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
