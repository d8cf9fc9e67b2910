"""Commands go to slots only with leave to run in bubbles, one program each."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from hydro.coordinator.allocation.allocate import fits
from hydro.coordinator.command import Command, InBubbles
from hydro.coordinator.device import Device, DeviceKind
from hydro.coordinator.names import DeviceName, StudyName
from hydro.coordinator.reconcile.plan import command_bundles

STUDY = SimpleNamespace(name=StudyName("p", "s"))
SLOT = Device(DeviceName("devices/gpu/slots/one"), DeviceKind.SLOT, memory_bytes=1 << 30, bubble_seconds=0.05)
COMMAND = Command(("train",), trials_per_device=2)
WITH_LEAVE = replace(COMMAND, in_bubbles=InBubbles(1 << 20, shortest_seconds=0.02, grace_seconds=0.01))


def test_what_exclusive_devices_do_not_hold_goes_to_slots_one_by_one():
    bundles = command_bundles(STUDY, WITH_LEAVE, range(4), 1)
    assert [(each.trials, each.max_lanes) for each in bundles] == [((0, 1), 2), ((2,), 1), ((3,), 1)]
    assert [fits(each, SLOT) for each in bundles] == [False, True, True]


def test_without_exclusive_devices_all_go_to_slots():
    assert [each.trials for each in command_bundles(STUDY, WITH_LEAVE, range(2), 0)] == [(0,), (1,)]


@pytest.mark.parametrize("devices", [0, 1])
def test_without_leave_none_fits_a_slot(devices):
    assert not any(fits(each, SLOT) for each in command_bundles(STUDY, COMMAND, range(4), devices))


@pytest.mark.parametrize(
    "slot", [replace(SLOT, bubble_seconds=0.025), replace(SLOT, memory_bytes=1 << 19)], ids=["too short", "too small"]
)
def test_a_slot_needs_the_bubbles_and_the_memory(slot):
    (bundle,) = command_bundles(STUDY, WITH_LEAVE, [0], 0)
    assert not fits(bundle, slot)
