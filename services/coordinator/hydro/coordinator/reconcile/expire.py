"""Leases end when their time is over, bundles when no worker takes them."""

from __future__ import annotations

import math
from functools import partial

import structlog

from hydro.coordinator.bell import Bell
from hydro.coordinator.bundle import Bundle
from hydro.coordinator.device import REGISTERED
from hydro.coordinator.lease import Lease
from hydro.coordinator.leasing import Leasing
from hydro.coordinator.reconcile.loop import LONGEST_PAUSE_SECONDS
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.kit.clock import Clock

_log = structlog.get_logger()


class Expiry:
    """Ends overdue leases: their trials return to PENDING with the last checkpoint that was acknowledged.

    Trials come under suspicion only when their worker could have renewed: when this coordinator and its database have
    answered all the time that a lease lasts.
    """

    def __init__(self, storage: Storage, leasing: Leasing, clock: Clock) -> None:
        self._storage = storage
        self._leasing = leasing
        self._clock = clock
        self._looked = -math.inf
        self._answers_since = -math.inf

    async def expire(self) -> None:
        """One step of the loop."""
        overdue = await self._storage.run(lambda tx: tx.leases.overdue())
        now, lease_seconds = self._clock.monotonic(), self._leasing.lease_seconds
        if now - self._looked > max(lease_seconds / 3, LONGEST_PAUSE_SECONDS * 2):
            self._answers_since = now
        self._looked = now
        could_renew = now - self._answers_since >= lease_seconds
        await self._leasing.expire({lease: _silence(lease) if could_renew else "" for lease in overdue})


def _silence(lease: Lease) -> str:
    return f"worker {lease.worker} on {lease.device} did not renew its lease"


async def dissolve(storage: Storage, bell: Bell, registered_seconds: float, own_seconds: float) -> None:
    """Ends bundles that no worker has taken for too long; their trials can be planned for another device.

    A worker of our own starts with its bundle and may take its time; one of a registered device had asked for work.
    """
    for bundle in await storage.run(lambda tx: tx.bundles.unclaimed(registered_seconds)):
        if await storage.run(partial(_dissolve, bundle=bundle, own_seconds=own_seconds)):
            _log.warning("bundle was not taken", bundle=bundle.number, device=str(bundle.device))
            bell.ring()


async def _dissolve(tx: Transaction, bundle: Bundle, own_seconds: float) -> bool:
    device = await tx.devices.get(bundle.device)
    if device.source != REGISTERED:
        is_late = bundle.number in {each.number for each in await tx.bundles.unclaimed(own_seconds)}
        if not is_late:
            return False
    return await tx.bundles.dissolve(bundle.number)
