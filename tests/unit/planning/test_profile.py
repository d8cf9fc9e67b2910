"""What a step costs."""

import pytest

from hydro.tuner.planning.profile import Profile, ProfilePoint
from hydro.tuner.planning.run_off import contenders

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


def test_counts_near_the_best_run_against_each_other():
    milliseconds = {1: 10, 2: 12, 4: 20, 8: 42}
    points = [ProfilePoint(lanes, step / 1000, 0, 0) for lanes, step in milliseconds.items()]
    assert [point.lanes for point in contenders(points, budget_seconds=60)] == [2, 4, 8]


def test_the_largest_counts_do_not_run_again_where_that_takes_too_long():
    points = [ProfilePoint(lanes, lanes * 0.1, 0, 0) for lanes in (1, 2, 4, 8)]
    assert [point.lanes for point in contenders(points, budget_seconds=5)] == [1, 2, 4]
    assert contenders(points, budget_seconds=0) == []
