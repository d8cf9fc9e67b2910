"""Slots become devices while their squeezer offers them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import structlog

from hydro.coordinator.bell import Bell
from hydro.coordinator.device import LOSE_DEVICE, Device
from hydro.coordinator.squeezer import Squeezer
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.kit.clock import Clock
from hydro.kit.errors import HydroError

_log = structlog.get_logger()
RETRY_SECONDS = 1.0


async def follow_slots(storage: Storage, squeezer: Squeezer, bell: Bell, clock: Clock) -> None:
    """Follows one squeezer for ever; its slots are GONE while it does not answer."""
    while True:
        try:
            async for slots in squeezer.slots():
                await storage.run(partial(keep_slots, source=squeezer.source, slots=slots))
                bell.ring()
        except HydroError as error:
            _log.info("squeezer does not answer", squeezer=squeezer.source, error=error.message)
        await _lose_all(storage, squeezer)
        bell.ring()
        await clock.sleep(RETRY_SECONDS)


async def keep_slots(tx: Transaction, source: str, slots: Sequence[Device]) -> None:
    """Stores the slots that there are, and loses the source's others."""
    for slot in slots:
        await tx.devices.put(slot)
    present = {slot.name for slot in slots}
    for device in await tx.devices.all():
        if device.source == source and device.name not in present and LOSE_DEVICE.allows(device.state):
            await tx.devices.move(device.name, LOSE_DEVICE)
            if device.bundle is not None:
                await tx.bundles.dissolve(device.bundle)


async def _lose_all(storage: Storage, squeezer: Squeezer) -> None:
    try:
        await storage.run(partial(keep_slots, source=squeezer.source, slots=[]))
    except HydroError as error:
        _log.warning("slots cannot be taken back now", squeezer=squeezer.source, error=error.message)
