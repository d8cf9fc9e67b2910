"""A lease: one worker's right to train one bundle, for a time that the database's clock measures."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from hydro.coordinator.names import DeviceName, LeaseName
from hydro.coordinator.transition import transition
from hydro.kit.errors import FailedPrecondition


class LeaseState(Enum):
    """ACTIVE > RELEASED | EXPIRED."""

    ACTIVE = "ACTIVE"
    RELEASED = "RELEASED"
    EXPIRED = "EXPIRED"


RELEASE_LEASE = transition("release", [LeaseState.ACTIVE], LeaseState.RELEASED)
EXPIRE_LEASE = transition("expire", [LeaseState.ACTIVE], LeaseState.EXPIRED)

TRANSITIONS = (RELEASE_LEASE, EXPIRE_LEASE)


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as it is stored. `sequence` is the last report message that was committed."""

    name: LeaseName
    bundle: int
    device: DeviceName
    worker: str
    state: LeaseState
    expire_time: datetime
    sequence: int = 0

    @property
    def fencing_token(self) -> int:
        """Grows with every lease."""
        return self.name.fencing_token


def lease_lost(name: LeaseName, fencing_token: int) -> FailedPrecondition:
    """The error of a worker whose lease has ended or was never its own."""
    return FailedPrecondition(
        f"{name} with fencing token {fencing_token} has expired or was taken over: drop what was not acknowledged and "
        "acquire another lease",
        reason="LEASE_LOST",
    )
