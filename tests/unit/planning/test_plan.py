"""Trials to bundles."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.tuner.planning.memory_line import MemoryMiss
from hydro.tuner.planning.plan import PlannedTrial, plan_bundles
from hydro.tuner.planning.profile import Profile, ProfilePoint
from hydro.tuner.planning.role import Role
from hydro.tuner.planning.sizing import BUBBLE_SHARE, PlannedDevice, choose_sizing
from hydro.tuner.training.execution import Execution

ROLES = {"lr": Role.OPTIMIZER, "dropout": Role.NUMERIC, "batch_size": Role.STRUCTURAL}


def profile(
    step_seconds: dict[int, float], *, separate: float = 0.010, memory: int = 100, segment: float = 0.5
) -> Profile:
    points = tuple(
        ProfilePoint(lanes, seconds, memory * lanes, segment * seconds) for lanes, seconds in step_seconds.items()
    )
    return Profile(points, separate, memory, segment * separate, 0.1, 1000)


DISPATCH_BOUND = profile({1: 0.010, 2: 0.011, 4: 0.013, 8: 0.017, 16: 0.027, 32: 0.050, 64: 0.098})
COMPUTE_BOUND = profile({1: 0.011, 2: 0.023, 4: 0.047})


def trials(count: int, **hyperparameters: float) -> list[PlannedTrial]:
    size = hyperparameters.get("batch_size", 0)
    return [PlannedTrial(f"t{size}-{i}", {"lr": 0.1 * i} | hyperparameters) for i in range(count)]


def exclusive(count: int, memory_bytes: int = 0) -> list[PlannedDevice]:
    return [PlannedDevice(f"devices/{i}", memory_bytes) for i in range(count)]


def lanes(bundles) -> list[int]:
    return sorted((len(bundle.trials) for bundle in bundles), reverse=True)


def test_the_fusion_count_is_the_smallest_near_the_peak_throughput():
    (bundle,) = plan_bundles(DISPATCH_BOUND, ROLES, trials(20), exclusive(1))
    assert bundle.max_lanes == 32
    assert bundle.execution is Execution.FUSED


def test_no_bundle_needs_more_memory_than_its_device_has():
    bundles = plan_bundles(DISPATCH_BOUND, ROLES, trials(20), exclusive(1, memory_bytes=900))
    assert {bundle.max_lanes for bundle in bundles} == {9}
    assert lanes(bundles) == [7, 7, 6]


@pytest.mark.parametrize(
    ("misses", "execution", "at_once"),
    [
        ([], Execution.FUSED, 32),
        ([MemoryMiss(32, 0)], Execution.FUSED, 16),
        ([MemoryMiss(7, 0), MemoryMiss(16, 0)], Execution.FUSED, 3),
        ([MemoryMiss(1, 0)], Execution.SEPARATE, 1),
        ([MemoryMiss(32, 5000, refused=False)], Execution.FUSED, 32),
    ],
)
def test_a_device_runs_at_most_half_of_what_it_refused_at_once(misses, execution, at_once):
    roomy = PlannedDevice("devices/0", misses=tuple(misses))
    bundles = plan_bundles(DISPATCH_BOUND, ROLES, trials(64), [roomy])
    assert {(bundle.execution, bundle.micro_lanes) for bundle in bundles} == {(execution, at_once)}


def test_what_a_device_held_is_expected_there_again_and_not_on_another():
    small = PlannedDevice("devices/0", 4000, misses=(MemoryMiss(8, 3000, refused=False),))
    other = PlannedDevice("devices/1", 4000)
    learned, same = (choose_sizing(DISPATCH_BOUND, device) for device in (small, other))
    assert (learned.micro_lanes, same.micro_lanes) == (10, 32)
    assert learned.memory_bytes >= 3000


def test_a_bundle_that_ran_out_of_memory_is_planned_smaller():
    learned = replace(DISPATCH_BOUND, misses=(MemoryMiss(8, 1200),))
    (bundle, *_) = plan_bundles(learned, ROLES, trials(20), exclusive(1, memory_bytes=1000))
    assert bundle.max_lanes == 7


def test_models_run_separately_where_fusion_does_not_pay():
    bundles = plan_bundles(COMPUTE_BOUND, ROLES, trials(6), exclusive(1))
    assert {bundle.execution for bundle in bundles} == {Execution.SEPARATE}


def test_models_that_do_not_fuse_run_separately():
    bundles = plan_bundles(Profile(separate_step_seconds=0.01), ROLES, trials(3), exclusive(1))
    assert {bundle.execution for bundle in bundles} == {Execution.SEPARATE}


def test_a_slots_bundle_is_small_enough_for_its_bubble():
    slot = PlannedDevice("devices/gpu/slots/0", bubble_seconds=0.011)
    bundles = plan_bundles(DISPATCH_BOUND, ROLES, trials(20), [slot])
    assert {bundle.max_lanes for bundle in bundles} == {8}
    assert all(bundle.segment_seconds <= BUBBLE_SHARE * 0.011 for bundle in bundles)


def test_an_exclusive_device_takes_the_large_bundle_and_the_slot_a_small_one():
    devices = [*exclusive(1), PlannedDevice("devices/gpu/slots/0", bubble_seconds=0.011)]
    bundles = plan_bundles(DISPATCH_BOUND, ROLES, trials(40), devices)
    assert [bundle.max_lanes for bundle in bundles[:2]] == [32, 8]


def test_a_device_where_nothing_fits_is_passed_over():
    devices = [PlannedDevice("devices/small", memory_bytes=10), *exclusive(1)]
    (bundle,) = plan_bundles(DISPATCH_BOUND, ROLES, trials(4), devices)
    assert bundle.max_lanes == 32


def test_trials_that_fit_nowhere_are_planned_as_separate_models():
    (bundle,) = plan_bundles(DISPATCH_BOUND, ROLES, trials(4), exclusive(1, memory_bytes=10))
    assert bundle.execution is Execution.SEPARATE


def test_structures_that_differ_are_not_mixed():
    bundles = plan_bundles(DISPATCH_BOUND, ROLES, trials(8, batch_size=64) + trials(8, batch_size=128), exclusive(2))
    assert [bundle.structure for bundle in bundles] == [{"batch_size": 64}, {"batch_size": 128}]
    assert lanes(bundles) == [8, 8]


def test_true_and_one_are_different_structures():
    flags = [PlannedTrial("a", {"norm": True}), PlannedTrial("b", {"norm": 1}), PlannedTrial("c", {"norm": 1.0})]
    assert lanes(plan_bundles(DISPATCH_BOUND, {}, flags, exclusive(1))) == [1, 1, 1]


def test_a_group_is_not_split_where_a_smaller_bundle_is_hardly_faster():
    assert lanes(plan_bundles(DISPATCH_BOUND, ROLES, trials(8), exclusive(3))) == [8]


def test_a_large_group_is_split_for_a_device_that_would_be_idle():
    assert lanes(plan_bundles(DISPATCH_BOUND, ROLES, trials(32), exclusive(2))) == [16, 16]


def test_separate_models_spread_over_every_idle_device():
    assert lanes(plan_bundles(COMPUTE_BOUND, ROLES, trials(6), exclusive(3))) == [2, 2, 2]


def test_trials_at_the_same_step_are_neighbours():
    mixed = [PlannedTrial(f"t{i}", {"lr": 0.1}, steps=100 * (i % 2)) for i in range(64)]
    first, second = plan_bundles(DISPATCH_BOUND, ROLES, mixed, exclusive(1))
    assert {int(name[1:]) % 2 for name in first.trials} == {0}
    assert {int(name[1:]) % 2 for name in second.trials} == {1}


def test_no_trials_make_no_bundles():
    assert plan_bundles(DISPATCH_BOUND, ROLES, [], exclusive(2)) == []


profiles = st.builds(
    lambda steps, separate: profile(dict(zip([1, 2, 4, 8, 16, 32], steps, strict=False)), separate=separate),
    st.lists(st.floats(1e-4, 1.0), max_size=6),
    st.floats(1e-4, 1.0),
)
planned_trials = st.lists(
    st.builds(
        lambda size, lr, steps: ({"batch_size": size, "lr": lr}, steps),
        st.sampled_from([32, 64, 128]),
        st.floats(0, 1),
        st.integers(0, 3),
    ),
    max_size=80,
).map(lambda rows: [PlannedTrial(f"t{i}", hp, steps) for i, (hp, steps) in enumerate(rows)])
planned_devices = st.lists(
    st.builds(
        PlannedDevice, st.just("devices/x"), st.sampled_from([0, 50, 500, 5000]), st.sampled_from([0, 0.01, 0.1])
    ),
    max_size=5,
)


@given(profiles, planned_trials, planned_devices)
def test_every_trial_is_in_exactly_one_bundle(profile, trials, devices):
    bundles = plan_bundles(profile, ROLES, trials, devices)
    placed = Counter(name for bundle in bundles for name in bundle.trials)
    assert placed == Counter(trial.trial for trial in trials)


@given(profiles, planned_trials, planned_devices)
def test_a_bundle_holds_trials_of_one_structure_and_no_more_than_its_limit(profile, trials, devices):
    structure = {trial.trial: {"batch_size": trial.hyperparameters["batch_size"]} for trial in trials}
    for bundle in plan_bundles(profile, ROLES, trials, devices):
        assert all(structure[name] == bundle.structure for name in bundle.trials)
        assert 1 <= len(bundle.trials) <= bundle.max_lanes


@given(profiles, planned_trials, planned_devices)
def test_every_bundle_runs_on_a_device_if_one_lane_does(profile, trials, devices):
    if not any(choose_sizing(profile, device) for device in devices):
        return
    for bundle in plan_bundles(profile, ROLES, trials, devices):
        assert any(device.holds(bundle.memory_bytes, bundle.segment_seconds) for device in devices)


@given(profiles, planned_trials, planned_devices)
def test_a_plan_is_a_function_of_its_arguments(profile, trials, devices):
    assert plan_bundles(profile, ROLES, trials, devices) == plan_bundles(profile, ROLES, trials, devices)


def test_a_small_micro_bundle_still_makes_a_long_bundle():
    cheapest_at_two = profile({1: 0.009, 2: 0.014, 4: 0.035})
    (bundle,) = plan_bundles(cheapest_at_two, ROLES, trials(6), exclusive(1))
    assert bundle.execution is Execution.FUSED
    assert (bundle.micro_lanes, bundle.max_lanes) == (2, 8)


def test_more_lanes_than_pay_at_once_run_in_micro_bundles():
    cheapest_at_two = replace(profile({1: 0.009, 2: 0.014, 4: 0.035}), lane_memory_bytes=3)
    sizing = choose_sizing(cheapest_at_two, PlannedDevice("devices/any"), 6)
    assert sizing is not None
    assert (sizing.execution, sizing.micro_lanes, sizing.lanes) == (Execution.FUSED, 2, 6)
    assert sizing.memory_bytes == 200 + 4 * 3


def test_micro_bundles_have_to_be_clearly_faster_than_all_lanes_at_once():
    hardly_faster_by_four = profile({1: 0.009, 4: 0.0140, 16: 0.0600})
    clearly_faster_by_four = profile({1: 0.009, 4: 0.0140, 16: 0.0640})
    sizings = [
        choose_sizing(each, PlannedDevice("devices/any"), 16)
        for each in (hardly_faster_by_four, clearly_faster_by_four)
    ]
    assert [sizing and sizing.micro_lanes for sizing in sizings] == [16, 4]


@pytest.mark.parametrize(
    ("lanes", "execution", "micro_lanes"),
    [(1, Execution.SEPARATE, 1), (16, Execution.FUSED, 16), (64, Execution.FUSED, 64)],
)
def test_as_many_lanes_as_there_are_get_what_is_fastest_for_them(lanes, execution, micro_lanes):
    nearly_flat = profile({1: 0.012, 4: 0.014, 16: 0.020, 64: 0.060})
    sizing = choose_sizing(nearly_flat, PlannedDevice("devices/any"), lanes)
    assert sizing is not None
    assert (sizing.execution, sizing.micro_lanes, sizing.lanes) == (execution, micro_lanes, lanes)


PADDED = ROLES | {"batch_size": Role.PADDED}


def test_padded_lengths_near_each_other_share_a_bundle():
    waiting = [trial for size in (16, 10, 12) for trial in trials(2, batch_size=size)]
    (bundle,) = plan_bundles(DISPATCH_BOUND, PADDED, waiting, exclusive(1))
    assert len(bundle.trials) == 6
    assert bundle.structure == {}


def test_padded_lengths_that_are_far_apart_start_in_bundles_of_their_own():
    waiting = [trial for size in (8, 64, 48, 5) for trial in trials(2, batch_size=size)]
    bundles = plan_bundles(DISPATCH_BOUND, PADDED, waiting, exclusive(2))
    assert {frozenset(bundle.trials) for bundle in bundles} == {
        frozenset({"t64-0", "t64-1", "t48-0", "t48-1"}),
        frozenset({"t8-0", "t8-1", "t5-0", "t5-1"}),
    }
