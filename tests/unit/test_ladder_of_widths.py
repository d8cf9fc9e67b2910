"""The ladder's own logic, on curves whose lowest points are known."""

import math

import pytest

from hydro.kit.errors import InvalidArgument
from hydro.tuner.building.climbing import LearningRate, climb, rung_widths, searched_rate
from hydro.tuner.shrinking.confidence import mean_interval
from hydro.tuner.shrinking.ladder import Ladder, Rung
from hydro.tuner.shrinking.loss_curve import fitted_optimum

RATES = [-5.0, -4.5, -4.0, -3.5, -3.0]


def curve(best, rates=RATES, curvature=0.1):
    return {rate: math.exp(curvature * (rate - best) ** 2) for rate in rates}


def rung(width, bests):
    return Rung(width, {seed: curve(best) for seed, best in enumerate(bests)})


def test_a_best_rate_that_stays_transfers():
    ladder = Ladder(tuple(rung(width, [-4.1, -4.0, -3.9]) for width in (0.125, 0.25, 0.5)))
    assert ladder.transfers and not ladder.has_failed
    assert ladder.drift.mean == pytest.approx(0) and ladder.target_octaves is None and ladder.warnings == ()


def test_a_sure_drift_that_goes_one_way_fails_and_is_extrapolated_to_the_target():
    ladder = Ladder((rung(0.125, [-3.4, -3.4, -3.41]), rung(0.25, [-3.9] * 3), rung(0.5, [-4.4, -4.41, -4.4])))
    assert ladder.has_failed and ladder.drift.mean == pytest.approx(1.0, abs=0.01)
    # Half an octave for each doubling, and three of them to the target.
    assert ladder.target_octaves == pytest.approx(-1.5, abs=0.02)
    assert "does not transfer" in ladder.finding and "2^-1.50" in ladder.finding


def test_a_drift_that_turns_back_is_not_extrapolated():
    ladder = Ladder((rung(0.125, [-3.4, -3.4, -3.41]), rung(0.25, [-4.6] * 3), rung(0.5, [-4.4, -4.41, -4.4])))
    assert ladder.target_octaves is None


def test_seeds_that_disagree_neither_pass_nor_fail():
    ladder = Ladder((rung(0.125, [-3.2, -4.0, -4.8]), rung(0.25, [-4.0] * 3)))
    assert not ladder.transfers and not ladder.has_failed
    assert "too wide an interval" in ladder.warnings[0]


def test_the_interval_of_a_mean_is_students():
    found = mean_interval([-1.0, 0.0, 1.0])
    assert (found.low, found.high) == pytest.approx((-4.303 / 3**0.5, 4.303 / 3**0.5), abs=1e-3)


def test_one_seed_alone_tells_nothing():
    assert mean_interval([0.1]).low == -math.inf


def test_a_best_rate_at_the_end_of_those_tried_is_told():
    ladder = Ladder((rung(0.125, [-2.0] * 3), rung(0.25, [-2.0] * 3)))
    assert any("at the end of those that were tried" in each for each in ladder.warnings)


def test_a_rate_with_which_one_seed_diverges_is_never_the_best():
    ours = Rung(0.5, {0: {**curve(-3.0), -3.0: math.inf}, 1: curve(-3.0)})
    assert ours.best <= -3.5


def test_the_parabola_leaves_out_what_lies_near_divergence():
    near_divergence = {**curve(-4.0), -3.0: 40.0}
    assert fitted_optimum(near_divergence) == pytest.approx(-4.0)


class Simulated:
    """Stands for trainings: the best rate falls by a tenth of an octave with each doubling, from 2^-2 at an eighth."""

    def __init__(self):
        self.trained = []

    def losses(self, width, seed, rates, solution=None):
        self.trained += [(width, seed, rate) for rate in rates]
        return curve(-2.0 - 0.1 * math.log2(8 * width) + 0.01 * seed, rates)


def test_climbing_finds_the_best_rate_of_every_rung_and_trains_nothing_twice():
    sweep = Simulated()
    ladder = climb(sweep, LearningRate("lr", 1e-3, 1.0), 1 / 8)
    assert [each.width for each in ladder.rungs] == [1 / 8, 1 / 4, 1 / 2]
    assert [each.best for each in ladder.rungs] == pytest.approx([-1.98, -2.08, -2.18])
    fine = [each for each in sweep.trained if each[2] % 1 or each[1]]
    assert len(fine) == len(set(fine))
    assert all(each.is_enclosed for each in ladder.rungs)


def test_a_rung_is_trained_with_the_surrogate_that_is_given_for_its_width():
    class Recording(Simulated):
        def losses(self, width, seed, rates, solution=None):
            given.add((width, solution))
            return super().losses(width, seed, rates)

    given = set()
    climb(Recording(), LearningRate("lr", 1e-3, 1.0), 1 / 8, lambda width: f"of {width}")
    assert given == {(width, f"of {width}") for width in (1 / 8, 1 / 4, 1 / 2)}


def test_rungs_end_at_the_target():
    assert rung_widths(1 / 2) == (1 / 2, 1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"momentum": (0.1, 0.9)}, "needs a learning rate in the search space"), ({"lr": (0.0, 1.0)}, "above zero")],
)
def test_a_ladder_needs_a_learning_rate_to_follow(values, message):
    with pytest.raises(InvalidArgument, match=message):
        searched_rate(values)


def test_the_searched_rate_is_found_by_its_name():
    assert searched_rate({"momentum": (0.1, 0.9), "lr": (0.01, 1.0)}) == LearningRate("lr", 0.01, 1.0)
