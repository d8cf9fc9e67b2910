"""The median rule decides as Optuna's MedianPruner."""

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from hydro.coordinator.pruning.pruner import MeasuredTrial, Report, Standing
from hydro.coordinator.pruning.pruning_rule import build_pruner, measured_steps
from hydro.coordinator.pruning_rules import MedianPruning, NoPruning
from hydro.coordinator.study import Goal
from hydro.coordinator.trial import Verdict

eighths = st.integers(-40, 40).map(lambda number: number / 8)  # medians of them are exact
courses = st.dictionaries(st.integers(1, 12), eighths, min_size=1, max_size=8)

CONTINUE, PRUNE, STOP = Verdict.CONTINUE, Verdict.PRUNE, Verdict.STOP


def optunas_decision(rule, goal, finished, course, step):
    """Whether optuna.pruners.MedianPruner prunes a trial with this course at this step."""
    pruner = optuna.pruners.MedianPruner(
        n_startup_trials=0,
        n_warmup_steps=rule.warmup_steps,
        interval_steps=rule.measurement_interval_steps,
        n_min_trials=max(1, rule.startup_trials),
    )
    study = optuna.create_study(direction=goal.value.lower())
    for values in finished:
        study.add_trial(create_trial(value=0.0, intermediate_values=values))
    running = create_trial(
        state=TrialState.RUNNING, intermediate_values={at: value for at, value in course.items() if at <= step}
    )
    return pruner.prune(study, running)


@settings(max_examples=200, deadline=None)
@given(
    finished=st.lists(courses, max_size=7),
    course=courses,
    interval=st.integers(1, 5),
    warmup=st.integers(0, 6),
    startup=st.integers(0, 4),
    goal=st.sampled_from(Goal),
)
def test_decisions_equal_optunas(finished, course, interval, warmup, startup, goal):
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    rule = MedianPruning(interval, warmup, startup)
    history = [
        MeasuredTrial(trial, Standing.SUCCEEDED, tuple(sorted(values.items()))) for trial, values in enumerate(finished)
    ]
    pruner = build_pruner(rule, goal, 0, history)
    for step in sorted(course):
        (verdict,) = pruner.decide([Report(100, step, course[step])])
        expected = optunas_decision(rule, goal, finished, course, step)
        assert verdict is (PRUNE if expected else CONTINUE)
        if expected:
            break


def course_of(pruner, trial, values):
    """Verdicts of a trial measured at steps 10, 20, ..."""
    return [pruner.decide([Report(trial, 10 * (index + 1), value)])[0] for index, value in enumerate(values)]


def test_a_trial_worse_than_the_median_of_the_finished_is_pruned():
    pruner = build_pruner(MedianPruning(10, startup_trials=3), Goal.MINIMIZE, 30)
    for trial, value in enumerate((1.0, 2.0, 3.0)):
        assert course_of(pruner, trial, [value] * 3) == [CONTINUE, CONTINUE, STOP]
    assert course_of(pruner, 3, [2.5]) == [PRUNE]
    assert course_of(pruner, 4, [1.5, 9.0, 9.0]) == [CONTINUE, CONTINUE, STOP]  # its best so far counts


def test_running_pruned_and_failed_trials_do_not_count():
    pruner = build_pruner(MedianPruning(10, startup_trials=1), Goal.MINIMIZE, 30)
    course_of(pruner, 0, [1.0])
    course_of(pruner, 1, [1.0])
    pruner.end(1, succeeded=False)
    assert course_of(pruner, 2, [9.0]) == [CONTINUE]


def test_a_trial_of_a_study_without_a_limit_counts_once_its_caller_ends_it():
    pruner = build_pruner(MedianPruning(10, startup_trials=1), Goal.MAXIMIZE, 0)
    assert course_of(pruner, 0, [5.0, 5.0]) == [CONTINUE, CONTINUE]
    assert course_of(pruner, 1, [1.0]) == [CONTINUE]
    pruner.end(0, succeeded=True)
    assert course_of(pruner, 2, [1.0]) == [PRUNE]


def test_the_report_that_pruned_gets_its_verdict_again():
    pruner = build_pruner(MedianPruning(10, startup_trials=1), Goal.MINIMIZE, 20)
    course_of(pruner, 0, [1.0, 1.0])
    assert course_of(pruner, 1, [2.0]) == [PRUNE]
    assert course_of(pruner, 1, [2.0]) == [PRUNE]
    assert pruner.decide([Report(0, 20, 1.0)]) == [STOP]


@given(st.lists(courses, min_size=1, max_size=8), st.sampled_from(Goal))
def test_a_rebuilt_pruner_decides_as_the_one_that_saw_it_all(finished, goal):
    rule = MedianPruning(1, startup_trials=1)
    seen = build_pruner(rule, goal, 0)
    standings = {}
    for trial, values in enumerate(finished):
        verdicts = [seen.decide([Report(trial, step, values[step])])[0] for step in sorted(values)]
        standings[trial] = Standing.ENDED if PRUNE in verdicts else Standing.SUCCEEDED
        seen.end(trial, succeeded=PRUNE not in verdicts)
    history = [
        MeasuredTrial(trial, standings[trial], tuple(sorted(values.items()))) for trial, values in enumerate(finished)
    ]
    rebuilt = build_pruner(rule, goal, 0, history)
    reports = [Report(100 + step, step, 0.0) for step in range(1, 13)]
    assert rebuilt.decide(reports) == seen.decide(reports)


def test_nothing_pauses():
    for rule in (MedianPruning(10), NoPruning(10)):
        pruner = build_pruner(rule, Goal.MINIMIZE, 100)
        pruner.decide([Report(trial, 10, float(trial)) for trial in range(8)])
        pruner.promote(1)
        assert pruner.promotable() == []
        assert pruner.last_resort() is None


def test_without_pruning_every_trial_goes_to_its_end():
    pruner = build_pruner(NoPruning(10), Goal.MINIMIZE, 30)
    assert course_of(pruner, 0, [9.0, 99.0, 999.0]) == [CONTINUE, CONTINUE, STOP]
    pruner.end(0, succeeded=True)
    assert pruner.decide([Report(1, 5, 1.0)]) == [CONTINUE]


def test_measured_steps_are_multiples_and_the_end():
    assert measured_steps(MedianPruning(10), 35) == (10, 20, 30, 35)
    assert measured_steps(NoPruning(10), 30) == (10, 20, 30)
    assert measured_steps(NoPruning(), 30) == (30,)
    assert measured_steps(MedianPruning(10), 0) == ()


def test_a_value_that_is_not_finite_is_no_report():
    with pytest.raises(ValueError, match="trial 3 at step 10: nan is not finite"):
        Report(3, 10, float("nan"))
