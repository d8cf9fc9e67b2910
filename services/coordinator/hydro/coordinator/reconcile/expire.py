"""Leases end when their time is over, or their worker is known to be dead."""

from __future__ import annotations

from hydro.coordinator.leasing import Leasing
from hydro.coordinator.storage.storage import Storage


async def expire(storage: Storage, leasing: Leasing) -> None:
    """Ends overdue leases: their trials return to PENDING with the last checkpoint that was acknowledged."""
    await leasing.expire(await storage.run(lambda tx: tx.leases.overdue()))
