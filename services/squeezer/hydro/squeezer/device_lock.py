"""One squeezer per GPU: a lock that dies with its process, and the pages that an earlier life left."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import structlog

from hydro.kit.errors import FailedPrecondition
from hydro.squeezer.gate import SUFFIX, ControllerGate

_log = structlog.get_logger()


class DeviceLock:
    """Held as long as the process lives.

    Raises:
        FailedPrecondition: another squeezer serves this device.
    """

    def __init__(self, directory: Path, device_identifier: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._path = directory / f"{device_identifier}.lock"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._descriptor)
            raise FailedPrecondition(
                f"device {device_identifier!r}: another squeezer holds {self._path}: run one per device"
            ) from error

    def release(self) -> None:
        """Lets another squeezer in."""
        os.close(self._descriptor)


def revoke_leftover_gates(directory: Path, device_identifier: str) -> int:
    """Revokes the gates of an earlier life of this device's squeezer, and gives how many there were.

    Whoever holds the device's lock is the only one that makes such gates, so all there are now are left over.
    """
    leftover = sorted(directory.glob(f"{device_identifier}.*{SUFFIX}"))
    for path in leftover:
        ControllerGate.revoke_leftover(path)
        _log.info("gate of an earlier life revoked", gate=path.name)
    return len(leftover)
