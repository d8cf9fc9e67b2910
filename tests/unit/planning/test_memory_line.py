"""Memory at counts that nobody measured."""

import random

import pytest

from hydro.tuner.planning.memory_line import MemoryMiss, predict_memory


def test_a_line_goes_on_beyond_what_was_measured():
    estimate = predict_memory([(1, 110), (2, 120), (4, 140)], 16)
    assert estimate.memory_bytes == pytest.approx(260, abs=1)
    assert estimate.upper_bytes == pytest.approx(260, abs=1)


def test_the_interval_holds_nineteen_times_of_twenty():
    noise, inside, draws = random.Random(0), 0, 2000
    for _ in range(draws):
        measured = [(lanes, int(1e6 + 1e4 * lanes + noise.gauss(0, 2e4))) for lanes in (1, 2, 4, 8, 16)]
        inside += 1e6 + 1e4 * 32 + noise.gauss(0, 2e4) <= predict_memory(measured, 32).upper_bytes
    assert 0.93 <= inside / draws <= 0.97


def test_the_interval_widens_with_the_distance():
    measured = [(1, 1000), (2, 1150), (4, 1180)]
    near, far = (predict_memory(measured, lanes) for lanes in (5, 50))
    assert far.upper_bytes - far.memory_bytes > near.upper_bytes - near.memory_bytes > 0


def test_two_points_are_trusted_less_the_farther_away():
    estimate = predict_memory([(1, 1000), (2, 1100)], 12)
    assert (estimate.memory_bytes, estimate.upper_bytes) == (2100, 2205)


def test_one_point_is_shared_evenly_by_its_lanes():
    assert predict_memory([(4, 400)], 8).memory_bytes == 800
    assert predict_memory([(4, 400)], 2).memory_bytes == 400


def test_a_bundle_is_not_expected_to_hold_less_than_a_smaller_one_was_measured_to():
    assert predict_memory([(1, 500), (2, 100), (4, 100)], 8).memory_bytes >= 500


def test_what_ran_out_of_memory_once_is_expected_to_need_more():
    measured = [(1, 110), (2, 120), (4, 140)]
    miss = MemoryMiss(8, 400)
    assert predict_memory(measured, 4, [miss]).upper_bytes == pytest.approx(140, abs=1)
    assert predict_memory(measured, 8, [miss]).upper_bytes == 400
    assert predict_memory(measured, 16, [miss]).memory_bytes == 800


def test_nothing_is_predicted_from_nothing():
    with pytest.raises(ValueError, match="no bundle's memory was measured"):
        predict_memory([], 4)
