"""A pruner whose steps do not fit the study is refused with field, value and remedy."""

import pytest

from hydro.coordinator.pruning.pruning_rule import validate_pruning
from hydro.coordinator.study import AshaPruning, MedianPruning, NoPruning


@pytest.mark.parametrize(
    ("rule", "max_steps"),
    [
        (AshaPruning(50, 4), 800),
        (AshaPruning(800, 2), 800),
        (MedianPruning(1), 0),
        (MedianPruning(10, 90, 5), 100),
        (NoPruning(), 0),
        (NoPruning(), 10**9),
        (NoPruning(100), 100),
    ],
)
def test_a_rule_that_fits_has_no_violations(rule, max_steps):
    assert validate_pruning(rule, max_steps) == []


@pytest.mark.parametrize(
    ("rule", "max_steps", "field", "words"),
    [
        (AshaPruning(900, 4), 800, "study.pruner.asha.min_steps", "is 900, more than max_steps 800"),
        (AshaPruning(0, 4), 800, "study.pruner.asha.min_steps", "is 0: give 1 or more"),
        (AshaPruning(50, 1), 800, "study.pruner.asha.eta", "is 1: give 2 or more"),
        (AshaPruning(50, 4), 0, "study.max_steps", "is 0"),
        (MedianPruning(0), 100, "study.pruner.median.measurement_interval_steps", "is 0: give 1 or more"),
        (MedianPruning(200), 100, "study.pruner.median.measurement_interval_steps", "more than max_steps 100"),
        (MedianPruning(10, -1), 100, "study.pruner.median.warmup_steps", "is -1"),
        (MedianPruning(10, 100), 100, "study.pruner.median.warmup_steps", "no trial of 100 steps is ever pruned"),
        (MedianPruning(10, 0, -1), 100, "study.pruner.median.startup_trials", "is -1"),
        (MedianPruning(1), 10**6, "study.pruner.median.measurement_interval_steps", "give 100 or more"),
        (NoPruning(-1), 100, "study.pruner.none.measurement_interval_steps", "is -1: give 0 or more"),
        (NoPruning(101), 100, "study.pruner.none.measurement_interval_steps", "more than max_steps 100"),
    ],
)
def test_a_rule_that_does_not_fit_names_field_value_and_remedy(rule, max_steps, field, words):
    (violation,) = validate_pruning(rule, max_steps)
    assert violation.field == field
    assert words in violation.description
