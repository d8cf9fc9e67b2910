"""Rules by time compare trials where they have trained equally long, however many steps that was."""

import random

import pytest

from hydro.api.coordinator.v1 import study_pb2
from hydro.coordinator.pruning.pruner import MeasuredTrial, Report, Standing
from hydro.coordinator.pruning.pruning_rule import build_pruner, measured_steps
from hydro.coordinator.pruning.validation import validate_pruning
from hydro.coordinator.pruning_rules import (
    AshaPruning,
    MedianPruning,
    PatiencePruning,
    SuccessiveHalvingPruning,
    ThresholdPruning,
    TimedPruning,
)
from hydro.coordinator.server.convert_pruning import pruning_violations
from hydro.coordinator.study import Goal
from hydro.coordinator.trial import Verdict

CONTINUE, PAUSE, PRUNE, STOP = Verdict.CONTINUE, Verdict.PAUSE, Verdict.PRUNE, Verdict.STOP


def one(pruner, trial, step, value, seconds):
    (verdict,) = pruner.decide([Report(trial, step, value, seconds)])
    return verdict


def pruner_of(rule, interval=10.0, warmup=0.0, max_steps=4, history=()):
    return build_pruner(TimedPruning(rule, interval, warmup), Goal.MINIMIZE, max_steps, history)


def test_the_median_is_that_of_the_same_time_not_of_the_same_step():
    slow = MeasuredTrial(0, Standing.SUCCEEDED, ((1, 0.9), (2, 0.7), (3, 0.5), (4, 0.3)), (10.0, 20.0, 30.0, 40.0))
    by_time, by_steps = (
        pruner_of(MedianPruning(1), history=[slow]),
        build_pruner(MedianPruning(1), Goal.MINIMIZE, 4, [slow]),
    )
    # Four times as fast: after its second step it has had less time than the slow one for its first.
    assert one(by_steps, 1, 2, 0.8, 5.0) is PRUNE
    assert one(by_time, 1, 2, 0.8, 5.0) is CONTINUE
    assert one(by_time, 1, 3, 0.95, 12.0) is CONTINUE  # its best so far, 0.8, is better than 0.9
    assert one(by_time, 2, 1, 0.8, 25.0) is PRUNE  # at step 1, and yet late: 0.7 was there by then


def test_no_trial_ends_before_the_warm_up_rounded_up_to_whole_intervals():
    pruner = pruner_of(ThresholdPruning(None, 1.0, 1), warmup=15.0)
    assert one(pruner, 0, 1, 2.0, 19.9) is CONTINUE
    assert one(pruner, 0, 2, 2.0, 20.0) is PRUNE


def test_a_trial_trained_to_the_end_succeeds_however_long_it_took():
    pruner = pruner_of(ThresholdPruning(None, 1.0, 1))
    assert one(pruner, 0, 4, 2.0, 1000.0) is STOP


def test_patience_counts_intervals_of_time():
    pruner = pruner_of(PatiencePruning(None, 0, 1), max_steps=100)
    assert one(pruner, 0, 1, 0.1, 0.0) is CONTINUE
    assert one(pruner, 0, 2, 0.5, 9.0) is CONTINUE  # in the interval that 0.1 stands for
    assert one(pruner, 0, 3, 0.5, 11.0) is PRUNE


def test_successive_halving_has_its_rungs_at_intervals_times_powers_of_eta():
    pruner = pruner_of(SuccessiveHalvingPruning(1, 2), max_steps=100)
    assert one(pruner, 0, 50, 0.9, 9.0) is CONTINUE  # below the lowest rung
    assert [one(pruner, trial, 1, trial / 10, 10.0 + trial) for trial in (1, 2)] == [CONTINUE, PRUNE]
    assert one(pruner, 3, 1, 0.05, 25.0) is CONTINUE


def test_asha_pauses_at_the_first_measurement_after_a_rung_and_promotes_from_there():
    pruner = pruner_of(AshaPruning(1, 2), max_steps=8)
    assert one(pruner, 0, 1, 0.5, 8.0) is CONTINUE
    assert one(pruner, 0, 2, 0.5, 13.0) is PAUSE
    assert one(pruner, 1, 1, 0.9, 11.0) is PAUSE
    assert pruner.promotable() == [0]
    pruner.promote(0)
    assert one(pruner, 0, 3, 0.4, 19.0) is CONTINUE  # not yet at the rung of 20 s
    assert one(pruner, 0, 4, 0.4, 21.0) is PAUSE
    assert pruner.last_resort() == 0
    pruner.promote(0)
    assert one(pruner, 0, 8, 0.3, 30.0) is STOP
    assert pruner.last_resort() is None


@pytest.mark.parametrize(
    "rule",
    [MedianPruning(1), ThresholdPruning(None, 0.9, 1), PatiencePruning(MedianPruning(1), 1, 1), AshaPruning(1, 3)],
)
def test_a_pruner_read_again_decides_as_the_one_that_saw_everything(rule):
    draw = random.Random(5)
    live, history = pruner_of(rule, max_steps=12), {}
    for trial in range(30):
        standing, measurements, seconds = Standing.OPEN, [], []
        speed = draw.uniform(2, 9)
        for step in range(1, draw.choice([6, 12, 12]) + 1):
            measurements.append((step, draw.random()))
            seconds.append(step * speed)
            verdict = one(live, trial, *measurements[-1], seconds[-1])
            standing = {STOP: Standing.SUCCEEDED, PRUNE: Standing.ENDED, PAUSE: Standing.PAUSED}.get(verdict, standing)
            if verdict is not CONTINUE:
                break
        history[trial] = MeasuredTrial(trial, standing, tuple(measurements), tuple(seconds))
    again = pruner_of(rule, max_steps=12, history=history.values())
    assert {Standing.ENDED, Standing.PAUSED} & {each.standing for each in history.values()}
    assert again.promotable() == live.promotable()
    for trial, step, value, at in ((100 + n, n % 11 + 1, draw.random(), draw.uniform(0, 99)) for n in range(60)):
        assert one(again, trial, step, value, at) is one(live, trial, step, value, at)


def test_rules_with_rungs_are_measured_every_min_steps():
    assert measured_steps(TimedPruning(AshaPruning(3, 4), 60.0), 10) == (3, 6, 9, 10)
    assert measured_steps(TimedPruning(MedianPruning(4), 60.0), 10) == (4, 8, 10)


@pytest.mark.parametrize(
    ("rule", "field", "words"),
    [
        (TimedPruning(MedianPruning(1), 0.0), "interval_seconds", "is 0.0: give 0.001 to 1e"),
        (TimedPruning(MedianPruning(1), float("nan")), "interval_seconds", "is nan"),
        (TimedPruning(MedianPruning(1), 1.0, -1.0), "warmup_seconds", "is -1.0: give 0"),
        (TimedPruning(MedianPruning(1, 5), 1.0), "rule.median.warmup_steps", "give by_time.warmup_seconds"),
        (
            TimedPruning(PatiencePruning(MedianPruning(1, 5), 1, 1), 1.0),
            "rule.patience.rule.median.warmup_steps",
            "give by_time.warmup_seconds",
        ),
        (TimedPruning(PatiencePruning(None, 1, 1), 1.0, 5.0), "warmup_seconds", "has no warm-up"),
        (TimedPruning(AshaPruning(1, 2), 1.0, 5.0), "warmup_seconds", "asha by itself has no warm-up"),
        (
            TimedPruning(SuccessiveHalvingPruning(1, 2, 3), 1.0),
            "rule.successive_halving.min_early_stopping_rate",
            "leave this out",
        ),
        (TimedPruning(AshaPruning(1, 1), 1.0), "rule.asha.eta", "is 1: give 2 or more"),
        (TimedPruning(None, 1.0), "rule", "cannot go by time: give median"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_its_path(rule, field, words):
    (violation,) = validate_pruning(rule, 100)
    assert violation.field == f"study.pruner.by_time.{field}" and words in violation.description


def test_by_time_every_measurement_of_a_rung_rule_is_counted():
    (violation,) = validate_pruning(TimedPruning(AshaPruning(1, 2), 1.0), 100_000)
    assert violation.field == "study.pruner.by_time.rule.asha.min_steps" and "give 10 or more" in violation.description


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        (study_pb2.Pruner(hyperband=study_pb2.HyperbandPruner(min_steps=1, eta=3)), "hyperband"),
        (study_pb2.Pruner(none=study_pb2.NoPruner()), "none"),
        (study_pb2.Pruner(by_time=study_pb2.TimedPruner()), "by_time"),
        (study_pb2.Pruner(learning_curve=study_pb2.LearningCurvePruner()), "learning_curve"),
        (study_pb2.Pruner(), "none"),
    ],
)
def test_a_rule_that_has_to_know_its_end_is_refused_by_name(rule, kind):
    message = study_pb2.Pruner(by_time=study_pb2.TimedPruner(rule=rule, interval_seconds=1))
    (violation,) = pruning_violations(message)
    assert violation.field == "study.pruner.by_time.rule"
    assert violation.description.startswith(f"is {kind}, which cannot go by time: give median")
    inside = study_pb2.Pruner(patience=study_pb2.PatiencePruner(rule=rule))
    (violation,) = pruning_violations(study_pb2.Pruner(by_time=study_pb2.TimedPruner(rule=inside)))
    assert violation.field == "study.pruner.by_time.rule.patience.rule"
