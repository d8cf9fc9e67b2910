"""Whether a bundle is compiled."""

import json
from dataclasses import asdict, replace

import pytest

from hydro.tuner.planning.compiling import (
    EXPECTED_COMPILE_SECONDS,
    EXPECTED_GAIN,
    bundle_steps,
    compiling_could_pay,
    patience_for_compiling,
)
from hydro.tuner.planning.plan import PlannedTrial, plan_bundles
from hydro.tuner.planning.profile import CompiledPoint, Profile, ProfilePoint
from hydro.tuner.planning.role import Role
from hydro.tuner.planning.sizing import PlannedDevice, choose_sizing
from hydro.tuner.training.execution import Execution

POINTS = tuple(ProfilePoint(lanes, 0.010 + 0.001 * lanes, 100 * lanes, 0.005) for lanes in (1, 2, 4, 8))
PROFILE = Profile(POINTS, separate_step_seconds=0.010, separate_memory_bytes=100)
DEVICE = PlannedDevice("devices/0")


def with_compiled(step_seconds, steps, compile_seconds=20.0, lanes=8, memory_bytes=0):
    return replace(PROFILE, compiled=CompiledPoint(lanes, step_seconds, compile_seconds, steps, memory_bytes))


def trials(count, steps=0):
    return [PlannedTrial(f"t{i}", {"lr": 0.1}, steps) for i in range(count)]


def planned(profile, waiting, max_steps):
    return plan_bundles(profile, {"lr": Role.OPTIMIZER}, waiting, [DEVICE], max_steps)


def test_a_bundle_is_compiled_where_its_steps_pay_for_it():
    sizing = choose_sizing(with_compiled(0.010, 1_000_000), DEVICE)
    assert (sizing.execution, sizing.micro_lanes) == (Execution.COMPILED, 8)


@pytest.mark.parametrize(
    "profile",
    [PROFILE, with_compiled(0.010, 1_000), with_compiled(0.020, 1_000_000)],
    ids=["not measured", "too few steps", "slower"],
)
def test_a_bundle_runs_as_emitted_where_compiling_does_not_pay(profile):
    assert choose_sizing(profile, DEVICE).execution is Execution.FUSED


def test_separate_models_stay_where_they_are_cheaper_than_a_compiled_bundle():
    profile = replace(with_compiled(0.010, 1_000_000), separate_step_seconds=0.001)
    assert choose_sizing(profile, DEVICE).execution is Execution.SEPARATE


def test_fewer_lanes_than_a_compiled_bundle_holds_pay_for_all_of_them():
    profile = with_compiled(0.0125, 1_000_000)
    assert choose_sizing(profile, DEVICE, 8).execution is Execution.COMPILED
    assert choose_sizing(profile, DEVICE, 1).execution is not Execution.COMPILED


def test_nothing_is_compiled_in_bubbles_or_beyond_memory():
    profile = with_compiled(0.010, 1_000_000)
    assert choose_sizing(profile, PlannedDevice("devices/0", bubble_seconds=1.0)).execution is Execution.FUSED
    assert choose_sizing(profile, PlannedDevice("devices/0", memory_bytes=500)).execution is Execution.FUSED
    larger = with_compiled(0.010, 1_000_000, memory_bytes=2_000)
    assert choose_sizing(larger, PlannedDevice("devices/0", memory_bytes=1_500)).execution is Execution.FUSED
    assert choose_sizing(larger, PlannedDevice("devices/0", memory_bytes=2_000)).memory_bytes == 2_000


def test_a_compiled_bundle_fits_no_slot():
    assert choose_sizing(with_compiled(0.010, 1_000_000), DEVICE).segment_seconds == 0


def test_the_steps_that_are_left_have_to_pay_and_not_those_of_the_profile():
    profile = with_compiled(0.010, 1_000)
    assert choose_sizing(profile, DEVICE, steps=1_000_000).execution is Execution.COMPILED
    assert choose_sizing(with_compiled(0.010, 1_000_000), DEVICE, steps=1_000).execution is Execution.FUSED


def test_a_bundle_whose_trials_are_nearly_done_runs_as_emitted():
    profile = with_compiled(0.010, 1_000_000)
    (fresh,) = planned(profile, trials(8), max_steps=1_000_000)
    assert (fresh.execution, fresh.micro_lanes) == (Execution.COMPILED, 8)
    (old,) = planned(profile, trials(8, steps=999_000), max_steps=1_000_000)
    assert (old.execution, old.micro_lanes) == (Execution.FUSED, 8)
    (unknown,) = planned(profile, trials(8, steps=999_000), max_steps=0)
    assert unknown.execution is Execution.COMPILED


def test_few_trials_that_wait_are_not_compiled_for_the_lanes_that_may_join():
    profile = with_compiled(0.0125, 1_000_000)
    (full,) = planned(profile, trials(8), max_steps=1_000_000)
    (alone,) = planned(profile, trials(1), max_steps=1_000_000)
    assert (full.execution, alone.execution) == (Execution.COMPILED, Execution.FUSED)


@pytest.mark.parametrize(("max_steps", "steps"), [(0, 0), (1, 1), (2, 2), (3, 2), (800, 512), (1024, 1024)])
def test_studies_about_as_long_share_a_profile(max_steps, steps):
    assert bundle_steps(max_steps) == steps


def test_nobody_waits_longer_for_a_compilation_than_it_may_save():
    peak = POINTS[-1]
    enough = round(2 * EXPECTED_COMPILE_SECONDS / (EXPECTED_GAIN * peak.step_seconds))
    assert patience_for_compiling(PROFILE, enough) == pytest.approx(2 * EXPECTED_COMPILE_SECONDS, rel=1e-3)
    assert patience_for_compiling(PROFILE, enough // 4) == 0
    assert patience_for_compiling(Profile(), enough) == 0


def test_a_compilation_is_tried_only_where_the_hoped_gain_exceeds_its_feared_time():
    point = ProfilePoint(8, 0.1, 100, 0.1)
    enough = round(EXPECTED_COMPILE_SECONDS / (EXPECTED_GAIN * 0.1)) + 1
    assert compiling_could_pay(point, enough)
    assert not compiling_could_pay(point, enough - 2)
    assert not compiling_could_pay(point, 0)
    assert not compiling_could_pay(replace(point, lanes=9), enough)


def test_a_profile_with_a_compiled_form_reads_back_from_json():
    profile = with_compiled(0.010, 1_000)
    assert Profile.from_fields(json.loads(json.dumps(asdict(profile)))) == profile
    assert Profile.from_fields(json.loads(json.dumps(asdict(PROFILE)))) == PROFILE
