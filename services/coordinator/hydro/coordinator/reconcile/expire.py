"""Leases end when their time is over, bundles when no worker takes them."""

from __future__ import annotations

from functools import partial

import structlog

from hydro.coordinator.bell import Bell
from hydro.coordinator.bundle import Bundle
from hydro.coordinator.device import REGISTERED
from hydro.coordinator.leasing import Leasing
from hydro.coordinator.storage.storage import Storage, Transaction

_log = structlog.get_logger()


async def expire(storage: Storage, leasing: Leasing) -> None:
    """Ends overdue leases: their trials return to PENDING with the last checkpoint that was acknowledged."""
    await leasing.expire(await storage.run(lambda tx: tx.leases.overdue()))


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
