"""The transfer benchmark's figures, on curves whose lowest points are known."""

import math

import pytest

from benchmarks.transfer.curves import Curves, drift, fitted, lowest, regret, window
from benchmarks.transfer.subjects import STEPS_PER_OCTAVE
from hydro.tuner.shrinking.confidence import mean_interval

SEEDS = range(5)
GRID = range(-12, 13)


def parabolas(lowest_octaves: list[float], curvature: float = 0.1) -> Curves:
    """Log losses that are parabolas, one for each seed."""
    return Curves(
        {
            seed: {each: math.exp(curvature * (each / STEPS_PER_OCTAVE - lowest) ** 2) for each in GRID}
            for seed, lowest in enumerate(lowest_octaves)
        },
        chance=10.0,
    )


def test_a_parabolas_lowest_point_is_found_between_the_grids_points():
    curve = parabolas([0.4]).mean()
    assert fitted(curve, lowest(curve)) == pytest.approx(0.4)


def test_a_curve_without_a_lowest_point_gives_the_best_of_its_points():
    falling = {each: 2.0 - each / 100 for each in GRID}
    assert fitted(falling, 0) == max(window(0)) / STEPS_PER_OCTAVE


def test_what_moves_a_seeds_curves_alike_at_every_width_is_no_spread_of_the_drift():
    found = drift(parabolas([0.6, 0.4, 0.5, 0.7, 0.3]), parabolas([0.1, -0.1, 0.0, 0.2, -0.2]))
    assert found.mean == pytest.approx(0.5, abs=0.01)
    assert found.high - found.low < 0.01


def test_what_moves_a_seeds_curve_at_one_width_alone_is_spread_of_the_drift():
    lows = [0.1, -0.1, 0.0, 0.2, -0.2]
    found = drift(parabolas([0.5] * 5), parabolas(lows))
    expected = mean_interval([0.5 - each for each in lows])
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, expected.low, expected.high), abs=0.02)


def test_regret_is_what_the_target_loses_at_the_surrogates_rate():
    target = parabolas([0.0] * 5)
    found = regret(parabolas([1.0] * 5), target)
    assert found.mean == pytest.approx(math.exp(0.1) - 1)
    assert regret(target, target).high == pytest.approx(0)


def test_the_interval_of_the_regret_holds_the_error_of_choosing_a_rate():
    found = regret(parabolas([-0.5, 0.5, -0.4, 0.4, 0.0]), parabolas([0.0] * 5))
    assert found.mean == pytest.approx(0) and found.high > 0.003


def test_a_run_that_diverged_counts_as_a_guess():
    curves = Curves({0: {0: 1.0, 1: math.inf}, 1: {0: 1.0, 1: 2.0}}, chance=3.0)
    assert curves.mean() == {0: 1.0, 1: 2.5}
    assert curves.diverged(1) == 1 and curves.diverged(0) == 0
