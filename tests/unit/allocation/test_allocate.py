"""Bundles go to exclusive devices first, then to slots whose bubbles hold them."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from hydro.coordinator.allocation.allocate import allocate, fits, is_idle
from hydro.coordinator.bundle import PlannedBundle
from hydro.coordinator.device import Device, DeviceKind, DeviceState
from hydro.coordinator.names import DeviceName, LeaseName, StudyName
from hydro.coordinator.trial import TrialKind

STUDY = StudyName.parse("projects/p/studies/s")


def bundle(number=0, memory=100, segment=0.01):
    return PlannedBundle(STUDY, TrialKind.SEARCH, (number,), memory_bytes=memory, segment_seconds=segment)


def device(number=0, memory=1000, **changes):
    return Device(DeviceName.parse(f"devices/d{number}"), DeviceKind.GPU, memory_bytes=memory, **changes)


def slot(number=0, memory=1000, bubble=0.02):
    name = DeviceName.parse(f"devices/d{number}/slots/s")
    return Device(name, DeviceKind.SLOT, memory_bytes=memory, bubble_seconds=bubble)


def placed(bundles, devices):
    return {each.bundle.trials[0]: str(each.device.name) for each in allocate(bundles, devices)}


sizes = st.integers(1, 4)
bundle_lists = st.lists(st.tuples(sizes, st.integers(0, 4)), max_size=6).map(
    lambda drawn: [bundle(number, memory, segment) for number, (memory, segment) in enumerate(drawn)]
)
device_lists = st.lists(st.tuples(st.booleans(), sizes, st.integers(0, 4)), max_size=6).map(
    lambda drawn: [
        slot(number, memory, bubble) if is_slot else device(number, memory)
        for number, (is_slot, memory, bubble) in enumerate(drawn)
    ]
)


def matchable(bundles, devices):
    """Whether all of these bundles can be placed at once, by trying."""
    if not bundles:
        return True
    return any(
        fits(bundles[0], each) and matchable(bundles[1:], [other for other in devices if other is not each])
        for each in devices
    )


def most(bundles, devices):
    """The most bundles that these devices can hold at once, by trying."""
    counts = range(min(len(bundles), len(devices)), -1, -1)
    return next(n for n in counts if any(matchable(chosen, devices) for chosen in combinations(bundles, n)))


@given(bundle_lists, device_lists)
def test_every_placement_fits_and_nothing_is_used_twice(bundles, devices):
    placements = allocate(bundles, devices)
    assert all(fits(each.bundle, each.device) for each in placements)
    assert len({each.device.name for each in placements}) == len(placements)
    numbers = [each.bundle.trials[0] for each in placements]
    assert numbers == sorted(set(numbers))


@given(bundle_lists, device_lists)
def test_exclusive_devices_are_filled_first_then_slots(bundles, devices):
    placements = allocate(bundles, devices)
    exclusive = [each for each in devices if each.is_exclusive]
    assert sum(each.device.is_exclusive for each in placements) == most(bundles, exclusive)
    assert len(placements) == most(bundles, devices)


@given(st.integers(0, 8), st.integers(0, 8))
def test_among_equals_the_earlier_bundles_go_first(waiting, idle):
    names = placed([bundle(number) for number in range(waiting)], [device(number) for number in range(idle)])
    assert list(names) == list(range(min(waiting, idle)))


@given(bundle_lists, device_lists)
def test_the_same_question_has_the_same_answer(bundles, devices):
    assert allocate(bundles, devices) == allocate(bundles, devices)


def test_a_bundle_that_fits_a_slot_leaves_the_device_to_one_that_does_not():
    assert placed([bundle(0), bundle(1, segment=9.0)], [slot(0), device(1)]) == {
        0: "devices/d0/slots/s",
        1: "devices/d1",
    }


def test_a_segment_longer_than_every_bubble_never_goes_to_a_slot():
    assert placed([bundle(segment=0.021)], [slot(0), slot(1)]) == {}


def test_a_bundle_that_was_not_measured_goes_to_no_slot():
    assert placed([bundle(segment=0.0)], [slot()]) == {}
    assert placed([bundle(segment=0.0)], [device()]) == {0: "devices/d0"}


def test_memory_is_respected_where_it_is_known():
    assert placed([bundle(memory=1001)], [device()]) == {}
    assert placed([bundle(memory=1001)], [device(memory=0)]) == {0: "devices/d0"}


def test_a_device_that_is_busy_draining_or_gone_gets_nothing():
    busy = [
        device(0, lease=LeaseName.parse("leases/1")),
        device(1, bundle=7),
        device(2, state=DeviceState.DRAINING),
        device(3, state=DeviceState.GONE),
    ]
    assert not any(map(is_idle, busy))
    assert placed([bundle()], busy) == {}
