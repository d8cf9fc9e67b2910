"""A pruner whose steps do not fit the study is refused with field, value and remedy."""

import pytest

from hydro.coordinator.pruning.validation import validate_pruning
from hydro.coordinator.pruning_rules import (
    AshaPruning,
    HyperbandPruning,
    LearningCurvePruning,
    MedianPruning,
    NoPruning,
    PatiencePruning,
    PercentilePruning,
    SuccessiveHalvingPruning,
    ThresholdPruning,
)


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
        (HyperbandPruning(1, 3), 81),
        (SuccessiveHalvingPruning(1, 3), 0),
        (LearningCurvePruning(10), 100),
        (ThresholdPruning(None, 1.0, 10), 0),
        (PatiencePruning(None, 0, 10), 100),
        (PatiencePruning(PercentilePruning(25, 10), 3, 10), 100),
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
        (HyperbandPruning(0, 3), 100, "study.pruner.hyperband.min_steps", "is 0: give 1 or more"),
        (HyperbandPruning(1, 3), 0, "study.max_steps", "is 0 (no limit)"),
        (SuccessiveHalvingPruning(1, 1), 100, "study.pruner.successive_halving.eta", "is 1: give 2 or more"),
        (
            SuccessiveHalvingPruning(10, 4, 9),
            100,
            "study.pruner.successive_halving.min_early_stopping_rate",
            "puts the first rung at 10 * 4^9 steps",
        ),
        (SuccessiveHalvingPruning(1, 2, 0, -1), 9, "study.pruner.successive_halving.bootstrap_count", "is -1"),
        (PercentilePruning(101, 10), 100, "study.pruner.percentile.percentile", "is 101: give 0 to 100"),
        (PercentilePruning(float("nan"), 10), 100, "study.pruner.percentile.percentile", "is nan"),
        (ThresholdPruning(None, None, 10), 100, "study.pruner.threshold", "has no bound"),
        (ThresholdPruning(2.0, 1.0, 10), 100, "study.pruner.threshold.lower", "more than upper 1.0"),
        (ThresholdPruning(float("inf"), None, 10), 100, "study.pruner.threshold.lower", "is inf"),
        (LearningCurvePruning(10), 0, "study.max_steps", "is 0 (no limit)"),
        (LearningCurvePruning(10, confidence=1.0), 100, "study.pruner.learning_curve.confidence", "is 1.0"),
        (PatiencePruning(None, -1, 10), 100, "study.pruner.patience.patience", "is -1"),
        (PatiencePruning(None, 1, 10, -0.1), 100, "study.pruner.patience.min_delta", "is -0.1"),
        (
            PatiencePruning(MedianPruning(0), 1, 10),
            100,
            "study.pruner.patience.rule.median.measurement_interval_steps",
            "is 0: give 1 or more",
        ),
        (NoPruning(-1), 100, "study.pruner.none.measurement_interval_steps", "is -1: give 0 or more"),
        (NoPruning(101), 100, "study.pruner.none.measurement_interval_steps", "more than max_steps 100"),
    ],
)
def test_a_rule_that_does_not_fit_names_field_value_and_remedy(rule, max_steps, field, words):
    (violation,) = validate_pruning(rule, max_steps)
    assert violation.field == field
    assert words in violation.description
