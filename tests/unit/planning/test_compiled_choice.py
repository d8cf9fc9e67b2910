"""Whether a bundle is compiled."""

import json
from dataclasses import asdict, replace

import pytest

from hydro.tuner.planning.profile import CompiledPoint, Profile, ProfilePoint
from hydro.tuner.planning.profiler import EXPECTED_COMPILE_SECONDS, EXPECTED_GAIN, compiling_could_pay
from hydro.tuner.planning.sizing import PlannedDevice, choose_sizing
from hydro.tuner.training.execution import Execution

POINTS = tuple(ProfilePoint(lanes, 0.010 + 0.001 * lanes, 100 * lanes, 0.005) for lanes in (1, 2, 4, 8))
PROFILE = Profile(POINTS, separate_step_seconds=0.010, separate_memory_bytes=100)
DEVICE = PlannedDevice("devices/0")


def with_compiled(step_seconds, bundle_steps, compile_seconds=20.0, lanes=8):
    return replace(PROFILE, compiled=CompiledPoint(lanes, step_seconds, compile_seconds, bundle_steps))


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
