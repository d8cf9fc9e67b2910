"""The port to the squeezers: slots that come and go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from hydro.coordinator.device import Device
from hydro.coordinator.names import DeviceName, LeaseName


class Squeezer(Protocol):
    """One squeezer. Methods raise Unavailable when it does not answer."""

    @property
    def source(self) -> str:
        """What its slots have as `source`: its address."""
        ...

    def slots(self) -> AsyncIterator[Sequence[Device]]:
        """Gives the slots that there are, then again at every change. Ends with an error when the squeezer goes."""
        ...

    async def claim(self, slot: DeviceName, lease: LeaseName) -> str:
        """Gives the slot to the lease, and the name of its gate page. The same claim again is fine.

        Raises:
            NotFound: the slot has gone.
            FailedPrecondition: a lease with a higher fencing token has it (LEASE_LOST).
        """
        ...

    async def release(self, slot: DeviceName, lease: LeaseName) -> None:
        """Takes the slot back, if the lease has it."""
        ...
