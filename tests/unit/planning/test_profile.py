"""What a step costs."""

import pytest

from hydro.tuner.planning.profile import Profile, ProfilePoint

PROFILE = Profile((ProfilePoint(1, 0.010, 0, 0), ProfilePoint(4, 0.016, 0, 0)))


def test_step_seconds_between_measured_counts_lie_on_the_line():
    assert PROFILE.fused_step_seconds(2) == pytest.approx(0.012)
    assert PROFILE.fused_step_seconds(4) == pytest.approx(0.016)


def test_seconds_per_lane_hold_beyond_the_last_measured_count():
    assert PROFILE.fused_step_seconds(8) == pytest.approx(0.032)


def test_a_profile_tells_what_a_lane_costs():
    assert str(Profile(PROFILE.fused, separate_step_seconds=0.012, target_step_seconds=0.5)) == (
        "milliseconds per step: target 500.00, separate surrogate 12.00, "
        "a lane of a fused bundle by lanes 1: 10.00, 4: 4.00"
    )
    assert str(Profile()).endswith("no fused bundle")
