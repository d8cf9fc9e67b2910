"""The end-to-end benchmark's summary, from outcomes whose figures are plain."""

from dataclasses import replace

import pytest

from benchmarks.end_to_end.outcome import Outcome
from benchmarks.end_to_end.subject import CHAR_LM, DIGITS
from benchmarks.end_to_end.summary import FIGURES, Comparison, summarize


def outcome(arm: str, search: float, target: float, metric: str, values: list[float]) -> Outcome:
    measured = {str(seed): {metric: value} for seed, value in enumerate(values)}
    return Outcome("model", arm, search, target, {}, 0.0, {}, 0, measured)


@pytest.fixture
def faster_but_worse() -> Comparison:
    return Comparison(
        DIGITS,
        outcome("optuna", 400.0, 20.0, "accuracy", [0.98, 0.96, 0.97]),
        outcome("hydro", 10.0, 20.0, "accuracy", [0.97, 0.95, 0.95]),
    )


@pytest.fixture
def slower_but_better() -> Comparison:
    return Comparison(
        CHAR_LM,
        outcome("optuna", 300.0, 20.0, "validation_loss", [2.0, 2.1, 2.0]),
        outcome("hydro", 20.0, 10.0, "validation_loss", [1.9, 2.0, 1.9]),
    )


def test_times_are_those_of_the_slower_model_and_metrics_of_the_worse_one(faster_but_worse, slower_but_better):
    summary = summarize([faster_but_worse, slower_but_better])
    assert summary["search_time_ratio"] == 15
    assert summary["total_time_ratio"] == pytest.approx(320 / 30)
    assert summary["target_metric_hydro"] == pytest.approx(0.9567, abs=1e-4)
    assert tuple(summary) == FIGURES


def test_the_bound_is_above_the_mean_difference_and_positive_is_worse(faster_but_worse, slower_but_better):
    assert faster_but_worse.metric_difference_upper_95 > 0.0138
    assert -0.0494 < slower_but_better.metric_difference_upper_95 < 0


def test_the_bound_is_students_over_paired_seeds(faster_but_worse):
    optuna = outcome("optuna", 1.0, 1.0, "accuracy", [1.0, 1.0, 1.0])
    hydro = outcome("hydro", 1.0, 1.0, "accuracy", [0.98, 0.99, 1.0])
    # A mean of 1 % and a standard deviation of 1 %; t(0.95, 2 degrees of freedom) is 2.920.
    compared = replace(faster_but_worse, optuna=optuna, hydro=hydro)
    assert compared.metric_difference_upper_95 == pytest.approx(0.01 + 2.920 * 0.01 / 3**0.5, abs=1e-5)
