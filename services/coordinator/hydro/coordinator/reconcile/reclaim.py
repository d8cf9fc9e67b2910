"""A bundle that trains in a slot moves to an exclusive device that has nothing to do: there it is done sooner."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from hydro.coordinator.allocation.allocate import fits, is_idle
from hydro.coordinator.bundle import Bundle, BundleState
from hydro.coordinator.device import Device, DeviceState
from hydro.coordinator.leasing import Leasing
from hydro.coordinator.names import LeaseName
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.kit.clock import Clock

_log = structlog.get_logger()
IDLE_SECONDS = 10.0
"""What waits for the device has had time to come; to move a bundle takes seconds too."""


class Reclaiming:
    """Asks for one slot's lanes back for each exclusive device that stays idle.

    They are checkpointed, return to PENDING, and are planned anew, exclusive devices first. Lost at a restart: the
    devices' time then begins anew.
    """

    def __init__(self, storage: Storage, leasing: Leasing, clock: Clock, has_worker: Callable[[Device], bool]) -> None:
        self._storage = storage
        self._leasing = leasing
        self._clock = clock
        self._has_worker = has_worker
        self._idle_since: dict[str, float] = {}

    async def step(self) -> None:
        """One round."""
        devices, bundles = await self._storage.run(_state)
        now = self._clock.monotonic()
        idle = [each for each in devices if each.is_exclusive and is_idle(each) and self._has_worker(each)]
        self._idle_since = {str(each.name): self._idle_since.get(str(each.name), now) for each in idle}
        for device in idle:
            if now - self._idle_since[str(device.name)] >= IDLE_SECONDS:
                lease = slowest(device, devices, bundles)
                if lease is not None and self._leasing.reclaim(lease):
                    _log.info("bundle moves out of its slot", lease=str(lease), to=str(device.name))
                    del self._idle_since[str(device.name)]


async def _state(tx: Transaction) -> tuple[Sequence[Device], Sequence[Bundle]]:
    return await tx.devices.all(), await tx.bundles.live()


def slowest(device: Device, devices: Sequence[Device], bundles: Sequence[Bundle]) -> LeaseName | None:
    """Gives the lease of the bundle that gets the least time of its slot, among those that fit the device."""
    running = {each.number: each.plan for each in bundles if each.state is BundleState.RUNNING}
    slots = [
        slot
        for slot in devices
        if not slot.is_exclusive and slot.state is DeviceState.READY and slot.lease and slot.bundle in running
        if fits(running[slot.bundle], device)
    ]
    return min(slots, key=lambda slot: slot.duty_cycle).lease if slots else None
