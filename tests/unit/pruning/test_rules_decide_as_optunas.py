"""Where Optuna has the same rule, decisions are equal: on random histories, one report after the other."""

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial

from hydro.coordinator.pruning.brackets import Brackets
from hydro.coordinator.pruning.pruner import MeasuredTrial, Report, Standing
from hydro.coordinator.pruning.pruning_rule import build_pruner
from hydro.coordinator.pruning_rules import (
    HyperbandPruning,
    MedianPruning,
    PatiencePruning,
    PercentilePruning,
    SuccessiveHalvingPruning,
    ThresholdPruning,
)
from hydro.coordinator.study import Goal
from hydro.coordinator.trial import Verdict

eighths = st.integers(-40, 40).map(lambda number: number / 8)
courses = st.dictionaries(st.integers(1, 12), eighths, min_size=1, max_size=8)
goals = st.sampled_from(Goal)
pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def optunas_study(goal, finished=()):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction=goal.value.lower())
    for values in finished:
        study.add_trial(create_trial(value=0.0, intermediate_values=values))
    return study


def judged_by_itself(rule, oracle, goal, finished, course):
    """Each report of one trial against what finished: for rules that leave no trace in Optuna's storage."""
    history = [
        MeasuredTrial(trial, Standing.SUCCEEDED, tuple(sorted(values.items()))) for trial, values in enumerate(finished)
    ]
    pruner, study = build_pruner(rule, goal, 0, history), optunas_study(goal, finished)
    for step in sorted(course):
        (verdict,) = pruner.decide([Report(100, step, course[step])])
        seen = {at: value for at, value in course.items() if at <= step}
        expected = oracle.prune(study, create_trial(state=TrialState.RUNNING, intermediate_values=seen))
        assert (verdict is Verdict.PRUNE) == expected
        if expected:
            break


def judged_side_by_side(rule, oracle, goal, reports, max_steps=0):
    """Trials report in any order, each its own steps ascending, and end when they are pruned."""
    pruner, study = build_pruner(rule, goal, max_steps, pauses=False), optunas_study(goal)
    running = {}
    for number, (gap, value) in reports:
        while len(study.trials) <= number:
            asked = study.ask()
            running[asked.number] = (asked, 0)
        if number not in running:
            continue
        trial, step = running[number]
        step += gap
        if max_steps and step >= max_steps:
            pruner.end(number, succeeded=True)
            study.tell(trial, value)
            del running[number]
            continue
        trial.report(value, step)
        running[number] = trial, step
        (verdict,) = pruner.decide([Report(number, step, value)])
        expected = oracle.prune(study, study._storage.get_trial(trial._trial_id))
        assert (verdict is Verdict.PRUNE) == expected
        if expected:
            study.tell(trial, state=TrialState.PRUNED)
            del running[number]


numbered_reports = st.lists(
    st.tuples(st.integers(0, 11), st.tuples(st.integers(1, 6), eighths)), min_size=1, max_size=60
)


@settings(max_examples=80, deadline=None)
@given(st.lists(courses, max_size=7), courses, st.sampled_from([0, 10, 25, 33.3, 50, 75, 90, 100]), goals, st.data())
def test_the_percentile_rule(finished, course, percentile, goal, data):
    interval, warmup, startup = data.draw(st.tuples(st.integers(1, 5), st.integers(0, 6), st.integers(0, 4)))
    oracle = optuna.pruners.PercentilePruner(percentile, 0, warmup, interval, n_min_trials=max(1, startup))
    rule = PercentilePruning(percentile, interval, warmup, startup)
    judged_by_itself(rule, oracle, goal, finished, course)


@settings(max_examples=60, deadline=None)
@given(courses, eighths | st.none(), eighths, st.integers(1, 5), st.integers(0, 6), goals)
def test_the_threshold_rule(course, lower, upper, interval, warmup, goal):
    lower = None if lower is not None and lower > upper else lower
    oracle = optuna.pruners.ThresholdPruner(lower, upper, warmup, interval)
    judged_by_itself(ThresholdPruning(lower, upper, interval, warmup), oracle, goal, [], course)


@settings(max_examples=80, deadline=None)
@given(st.lists(courses, max_size=5), courses, st.integers(0, 3), st.sampled_from([0.0, 0.125, 2.0]), goals)
@pytest.mark.parametrize("is_wrapping", [True, False])
def test_the_patience_rule(is_wrapping, finished, course, patience, min_delta, goal):
    wrapped = optuna.pruners.MedianPruner(n_startup_trials=0) if is_wrapping else None
    oracle = optuna.pruners.PatientPruner(wrapped, patience, min_delta)
    rule = PatiencePruning(MedianPruning(1) if is_wrapping else None, patience, 1, min_delta)
    judged_by_itself(rule, oracle, goal, finished, course)


@settings(max_examples=80, deadline=None)
@given(numbered_reports, st.integers(1, 3), st.integers(2, 4), st.integers(0, 1), st.integers(0, 3), goals)
def test_the_successive_halving_rule(reports, min_steps, eta, rate, bootstrap, goal):
    oracle = optuna.pruners.SuccessiveHalvingPruner(min_steps, eta, rate, bootstrap)
    rule = SuccessiveHalvingPruning(min_steps, eta, rate, bootstrap)
    judged_side_by_side(rule, oracle, goal, reports)


class OurBrackets(optuna.pruners.HyperbandPruner):
    """Optuna's, but that it spreads trials over brackets as we do."""

    def _get_bracket_id(self, study, trial):
        return Brackets(self._min_resource, self._max_resource, self._reduction_factor).of(trial.number)


@settings(max_examples=60, deadline=None)
@given(numbered_reports, st.integers(1, 3), st.integers(2, 4), st.sampled_from([9, 20, 27]), goals)
def test_the_hyperband_rule_in_each_bracket(reports, min_steps, eta, max_steps, goal):
    oracle = OurBrackets(min_steps, max_steps, eta)
    judged_side_by_side(HyperbandPruning(min_steps, eta), oracle, goal, reports, max_steps)


@pytest.mark.parametrize(("min_steps", "max_steps", "eta"), [(1, 81, 3), (50, 800, 4), (1, 100, 2), (5, 5, 2)])
def test_brackets_are_as_many_and_as_large_as_optunas(min_steps, max_steps, eta):
    oracle = optuna.pruners.HyperbandPruner(min_steps, max_steps, eta)
    oracle._try_initialization(optunas_study(Goal.MINIMIZE))
    assert list(Brackets(min_steps, max_steps, eta).shares) == oracle._trial_allocation_budgets


def test_brackets_of_the_paper():
    """Li et al., JMLR 2018, table 1: R = 81, eta = 3."""
    assert Brackets(1, 81, 3).shares == (81, 34, 15, 8, 5)


@given(st.integers(0, 10**6), st.integers(2, 4))
def test_any_run_of_trials_is_spread_over_the_brackets_by_their_shares(first, eta):
    brackets = Brackets(1, 81, eta)
    counts = [0] * len(brackets)
    for trial in range(first, first + 1000):
        counts[brackets.of(trial)] += 1
    for count, share in zip(counts, brackets.shares, strict=True):
        assert abs(count - 1000 * share / sum(brackets.shares)) < 10
