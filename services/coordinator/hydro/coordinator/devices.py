"""What callers do with devices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from hydro.coordinator.bell import Bell
from hydro.coordinator.device import DRAIN_DEVICE, LOCAL, LOSE_DEVICE, Device, DeviceState
from hydro.coordinator.names import DeviceName
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.kit.errors import FailedPrecondition

LOOK_SECONDS = 1.0


class Devices:
    """Registers, lists, drains and follows devices."""

    def __init__(self, storage: Storage, bell: Bell) -> None:
        self._storage = storage
        self._bell = bell

    async def register(self, device: Device) -> Device:
        """Stores the device, or what is new of a known one."""
        stored = await self._storage.run(lambda tx: tx.devices.put(device))
        self._bell.ring()
        return stored

    async def list(self, after: str, limit: int) -> Sequence[Device]:
        """Gives devices in the order of their names, from the one behind `after`."""
        return await self._storage.run(lambda tx: tx.devices.list(after, limit))

    async def drain(self, name: DeviceName) -> Device:
        """Starts no bundle on it any more, and asks for the running one back. A draining one is given as it is."""

        async def work(tx: Transaction) -> Device:
            device = await tx.devices.get(name)
            if device.state is not DeviceState.DRAINING:
                device = await _drained(tx, name)
            if device.bundle is not None and device.lease is None:
                await tx.bundles.dissolve(device.bundle)
            return await tx.devices.get(name)

        drained = await self._storage.run(work)
        self._bell.ring()
        return drained

    async def watch(self) -> AsyncIterator[Sequence[Device]]:
        """Gives all devices, then those that changed."""
        known: dict[DeviceName, Device] = {}
        is_first = True
        while True:
            ticket = self._bell.ticket()
            devices = await self._storage.run(lambda tx: tx.devices.all())
            changed = [device for device in devices if known.get(device.name) != device]
            if changed or is_first:
                yield changed
            known, is_first = {device.name: device for device in devices}, False
            await self._bell.wait(ticket, LOOK_SECONDS)

    async def keep_local(self, devices: Sequence[Device]) -> None:
        """Stores the devices of the settings, and loses those that are not among them any more."""

        async def work(tx: Transaction) -> None:
            names = {device.name for device in devices}
            for device in devices:
                await tx.devices.put(device)
            for known in await tx.devices.all():
                if known.source == LOCAL and known.name not in names and LOSE_DEVICE.allows(known.state):
                    await tx.devices.move(known.name, LOSE_DEVICE)
                    if known.bundle is not None:
                        await tx.bundles.dissolve(known.bundle)

        await self._storage.run(work)


async def _drained(tx: Transaction, name: DeviceName) -> Device:
    try:
        return await tx.devices.move(name, DRAIN_DEVICE)
    except FailedPrecondition:
        # The same call, sent twice at once, may have come first.
        device = await tx.devices.get(name)
        if device.state is not DeviceState.DRAINING:
            raise
        return device
