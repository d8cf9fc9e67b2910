"""A trial ends when its power law says that it will not beat the best, and no sooner."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from hydro.coordinator.pruning.learning_curve import Curve, PowerLaw
from hydro.coordinator.pruning.pruner import MeasuredTrial, Report, Standing
from hydro.coordinator.pruning.pruning_rule import build_pruner
from hydro.coordinator.pruning_rules import LearningCurvePruning
from hydro.coordinator.study import Goal
from hydro.coordinator.trial import Verdict

CONTINUE, PRUNE, STOP = Verdict.CONTINUE, Verdict.PRUNE, Verdict.STOP
RULE = LearningCurvePruning(10)


def law(end, gain, exponent, step, noise=0.0):
    return end + gain * ((step / 100) ** -exponent - 1) + noise


def verdicts(pruner, trial, values):
    found = []
    for index, value in enumerate(values, start=1):
        (verdict,) = pruner.decide([Report(trial, 10 * index, value)])
        found.append(verdict)
        if verdict is not CONTINUE:
            break
    return found


def pruner_with_one_finished(goal=Goal.MINIMIZE, sign=1.0):
    pruner = build_pruner(RULE, goal, 100)
    assert verdicts(pruner, 0, [sign * law(0.5, 1, 0.5, 10 * index) for index in range(1, 11)])[-1] is STOP
    return pruner


@given(st.floats(0.05, 2.5), st.floats(-2, 2), st.floats(0.1, 5))
def test_a_power_law_is_fitted_exactly(exponent, end, gain):
    fit = PowerLaw(exponent)
    for step in range(10, 60, 10):
        fit.add(step / 100, law(end, gain, exponent, step))
    mean, _ = fit.end(0.0)
    assert abs(mean - end) < 1e-8 * max(1, abs(end), gain)


def test_a_curve_that_leads_above_the_best_ends_early():
    pruner = pruner_with_one_finished()
    found = verdicts(pruner, 1, [law(1.5, 1, 0.5, 10 * index) for index in range(1, 11)])
    assert found == [CONTINUE] * 3 + [PRUNE]


def test_a_curve_that_leads_below_the_best_goes_on_though_it_is_behind_now():
    pruner = pruner_with_one_finished()
    course = [law(0.3, 2, 0.5, 10 * index) for index in range(1, 11)]
    assert all(value > law(0.5, 1, 0.5, 10 * index) for index, value in enumerate(course[:5], start=1))
    assert verdicts(pruner, 1, course) == [CONTINUE] * 9 + [STOP]


def test_a_noisy_curve_is_given_the_benefit_of_the_doubt():
    draw = random.Random(0)
    noisy = [law(0.55, 1, 0.5, 10 * index, draw.gauss(0, 0.3)) for index in range(1, 5)]
    assert verdicts(pruner_with_one_finished(), 1, noisy) == [CONTINUE] * 4


def test_nothing_ends_before_one_was_trained_to_the_end():
    pruner = build_pruner(RULE, Goal.MINIMIZE, 100)
    assert verdicts(pruner, 0, [9.0] * 9) == [CONTINUE] * 9


def test_goals_mirror_each_other_in_curves():
    for end in (0.3, 1.5):
        course = [law(end, 1, 0.5, 10 * index) for index in range(1, 11)]
        down = verdicts(pruner_with_one_finished(), 1, course)
        up = verdicts(pruner_with_one_finished(Goal.MAXIMIZE, -1.0), 1, [-value for value in course])
        assert down == up


@settings(max_examples=50)
@given(st.lists(st.floats(-1e9, 1e9), min_size=4, max_size=12), st.floats(-1e9, 1e9))
def test_any_course_gives_a_probability(values, best):
    curve = Curve(1000)
    for index, value in enumerate(values):
        curve.add(index, value)
    assert 0.0 <= curve.chance_to_beat(best) <= 1.0 + 1e-12


def test_a_flat_curve_at_the_best_value_goes_on():
    pruner = build_pruner(RULE, Goal.MINIMIZE, 100)
    verdicts(pruner, 0, [0.5] * 10)
    assert verdicts(pruner, 1, [0.5] * 10) == [CONTINUE] * 9 + [STOP]


def test_a_rebuilt_pruner_extrapolates_as_the_one_that_saw_it_all():
    seen = pruner_with_one_finished()
    courses = {trial: [law(0.5 + trial / 10, 1, 0.5, 10 * index) for index in range(1, 4)] for trial in range(1, 6)}
    for trial, course in courses.items():
        verdicts(seen, trial, course)
    finished = tuple((10 * index, law(0.5, 1, 0.5, 10 * index)) for index in range(1, 11))
    history = [MeasuredTrial(0, Standing.SUCCEEDED, finished)] + [
        MeasuredTrial(trial, Standing.OPEN, tuple(zip((10, 20, 30), course, strict=True)))
        for trial, course in courses.items()
    ]
    rebuilt = build_pruner(RULE, Goal.MINIMIZE, 100, history)
    reports = [Report(trial, 40, law(0.5 + trial / 10, 1, 0.5, 40)) for trial in courses]
    decided = seen.decide(reports)
    assert rebuilt.decide(reports) == decided
    assert PRUNE in decided and CONTINUE in decided
