"""Training the target's neighbours, and searching there from the surrogate's best."""

import math

import pytest

from hydro.client import EagerTransfer, asha, choice, constant, loguniform, maximize, minimize, surrogate, uniform
from hydro.client.snapshots import StudySettings
from hydro.client.target_checks import neighbours, target_search
from hydro.kit.errors import InvalidArgument

SPACE = {
    "lr": loguniform(1e-3, 1),
    "optimizer": choice(["sgd", "adam"]),
    "momentum": uniform(0.5, 0.99).when(optimizer=["sgd"]),
    "dropout": uniform(0, 0.5, transfer=False),
    "adam_dropout": uniform(0, 0.5, transfer=False).when(optimizer=["adam"]),
}
BEST = {"lr": 0.1, "optimizer": "sgd", "momentum": 0.9}
SETTINGS = StudySettings(SPACE, minimize("loss"), "tpe", asha(50, 800), surrogate(0.125, verify=["ladder"]), 64, 32, 0)


def test_neighbours_are_half_an_octave_away_and_alike_otherwise():
    found = neighbours(SPACE, BEST, "lr")
    assert found == {
        -0.5: {**BEST, "lr": pytest.approx(0.1 / 2**0.5)},
        0.0: BEST,
        0.5: {**BEST, "lr": pytest.approx(0.1 * 2**0.5)},
    }


def test_a_neighbour_outside_of_the_search_space_is_left_out():
    assert list(neighbours(SPACE, {**BEST, "lr": 1.0}, "lr")) == [-0.5, 0.0]


@pytest.mark.parametrize("name", ["optimizer", "nothing", "dropout"])
def test_what_is_no_searched_rate_has_no_neighbours(name):
    with pytest.raises(InvalidArgument, match="that was searched"):
        neighbours(SPACE, BEST, name)


def test_the_regret_bound_is_what_the_best_neighbour_gains():
    found = EagerTransfer("lr", minimize("loss"), {-0.5: 0.5, 0.0: 0.51, 0.5: 0.6})
    assert found.best_octaves == -0.5 and found.regret_bound == pytest.approx(0.02)
    assert "regret bound 2.00%" in str(found)
    assert EagerTransfer("lr", maximize("accuracy"), {-0.5: 0.9, 0.0: 0.95}).regret_bound == 0


def test_a_transferred_value_that_diverged_has_no_bound():
    assert EagerTransfer("lr", minimize("loss"), {-0.5: 0.5}).regret_bound == math.inf


def test_the_targets_search_starts_from_the_best_and_reopens_what_does_not_transfer():
    found = target_search(SETTINGS, BEST, "lr", octaves=1.0, trials=8)
    assert found.search_space == {
        "lr": loguniform(0.05, 0.2),
        "optimizer": constant("sgd"),
        "momentum": constant(0.9),
        "dropout": uniform(0, 0.5),
    }
    assert found.surrogate == surrogate(1.0) and (found.max_trials, found.parallelism) == (8, 8)


def test_the_targets_search_stays_inside_the_search_space():
    assert target_search(SETTINGS, {**BEST, "lr": 0.9}, "lr", 1.0, 8).search_space["lr"] == loguniform(0.45, 1)
