"""Places planned bundles on idle devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hydro.coordinator.bundle import PlannedBundle
from hydro.coordinator.device import Device, DeviceState


@dataclass(frozen=True, slots=True)
class Placement:
    """One bundle on one device."""

    bundle: PlannedBundle
    device: Device


def is_idle(device: Device) -> bool:
    """Whether a bundle may start on it now."""
    return device.state is DeviceState.READY and device.lease is None and device.bundle is None


def fits(bundle: PlannedBundle, device: Device) -> bool:
    """Whether the device has the memory and, if it is a slot, bubbles as long as what of the bundle runs undivided.

    A device whose memory is not known has enough. A bundle whose segment was not measured (0) fits no slot.
    """
    if 0 < device.memory_bytes < bundle.memory_bytes:
        return False
    return device.is_exclusive or 0 < bundle.segment_seconds <= device.bubble_seconds


def allocate(bundles: Sequence[PlannedBundle], devices: Sequence[Device]) -> list[Placement]:
    """Gives each idle device at most one bundle and each bundle at most one device, in the order of the bundles.

    As many exclusive devices as possible are filled, then as many slots as possible. Where devices are short, earlier
    bundles go first.
    """
    idle = [device for device in devices if is_idle(device)]
    matching = _Matching(bundles, idle)
    exclusive = [index for index, device in enumerate(idle) if device.is_exclusive]
    slots = [index for index, device in enumerate(idle) if not device.is_exclusive]
    matching.extend(exclusive)
    matching.extend(exclusive + slots)
    return [Placement(bundles[bundle], idle[device]) for bundle, device in sorted(matching.pairs())]


class _Matching:
    """Pairs of bundle and device indices, grown along augmenting paths.

    Such a path may move a bundle to another device but leaves everything placed that was placed: so what the exclusive
    devices hold stays full when slots are added, and an earlier bundle is never put off for a later one.
    """

    def __init__(self, bundles: Sequence[PlannedBundle], devices: Sequence[Device]) -> None:
        self._bundles = bundles
        self._devices = devices
        self._bundle_on: dict[int, int] = {}

    def pairs(self) -> list[tuple[int, int]]:
        """The (bundle, device) pairs."""
        return [(bundle, device) for device, bundle in self._bundle_on.items()]

    def extend(self, devices: Sequence[int]) -> None:
        """Places as many more bundles as these devices allow, earlier bundles first."""
        for bundle in range(len(self._bundles)):
            if all(device in self._bundle_on for device in devices):
                return
            if bundle not in self._bundle_on.values():
                self._place(bundle, devices, set())

    def _place(self, bundle: int, devices: Sequence[int], tried: set[int]) -> bool:
        """Places the bundle, moving others if it must."""
        suitable = [d for d in devices if d not in tried and fits(self._bundles[bundle], self._devices[d])]
        free = next((device for device in suitable if device not in self._bundle_on), None)
        if free is not None:
            self._bundle_on[free] = bundle
            return True
        for device in suitable:
            if device in tried:
                continue
            tried.add(device)
            if self._place(self._bundle_on[device], devices, tried):
                self._bundle_on[device] = bundle
                return True
        return False
