"""Hyperband halves within brackets, and pauses and promotes there as ASHA does."""

from hypothesis import given
from hypothesis import strategies as st

from hydro.coordinator.pruning.asha import AshaPruner
from hydro.coordinator.pruning.brackets import Brackets
from hydro.coordinator.pruning.pruner import MeasuredTrial, Report, Standing
from hydro.coordinator.pruning.pruning_rule import build_pruner, measured_steps
from hydro.coordinator.pruning_rules import HyperbandPruning, SuccessiveHalvingPruning
from hydro.coordinator.study import Goal
from hydro.coordinator.trial import Verdict

RULE = HyperbandPruning(min_steps=1, eta=3)
STEPS = (1, 3, 9, 27)
few_values = st.integers(0, 8).map(float)


@given(st.lists(st.tuples(*[few_values] * 4), min_size=1, max_size=60))
def test_each_bracket_is_an_asha_of_its_own(losses):
    hyperband = build_pruner(RULE, Goal.MINIMIZE, 27)
    brackets = Brackets(1, 27, 3)
    ashas = [AshaPruner(3, STEPS[first:], minimize=True) for first in range(len(brackets))]
    going_on = list(range(len(losses)))
    for level, step in enumerate(STEPS):
        reports = [Report(trial, step, losses[trial][level]) for trial in going_on]
        verdicts = hyperband.decide(reports)
        for bracket, asha in enumerate(ashas):
            own = [report for report in reports if brackets.of(report.trial) == bracket]
            ours = [
                each for each, report in zip(verdicts, reports, strict=True) if brackets.of(report.trial) == bracket
            ]
            assert asha.decide(own) == ours
        assert sorted(hyperband.promotable()) == sorted(trial for asha in ashas for trial in asha.promotable())
        going_on = [trial for trial, each in zip(going_on, verdicts, strict=True) if each is Verdict.CONTINUE]


def test_the_last_bracket_never_halves():
    hyperband = build_pruner(RULE, Goal.MINIMIZE, 27)
    brackets = Brackets(1, 27, 3)
    trial = next(trial for trial in range(100) if brackets.of(trial) == len(brackets) - 1)
    assert [hyperband.decide([Report(trial, step, 99.0)])[0] for step in STEPS] == [Verdict.CONTINUE] * 3 + [
        Verdict.STOP
    ]


def test_the_best_of_the_most_advanced_is_the_last_resort():
    hyperband, brackets = build_pruner(RULE, Goal.MINIMIZE, 27), Brackets(1, 27, 3)
    low, high = ([trial for trial in range(100) if brackets.of(trial) == bracket] for bracket in (0, 1))
    hyperband.decide([Report(low[0], 1, 0.1), Report(high[0], 3, 0.9), Report(high[1], 3, 0.8)])
    assert hyperband.last_resort() == high[1]
    hyperband.end(high[1], succeeded=False)
    assert hyperband.last_resort() == high[0]
    hyperband.promote(high[0])
    assert hyperband.decide([Report(high[0], 27, 0.9)]) == [Verdict.STOP]
    assert hyperband.last_resort() is None


@given(st.lists(few_values, min_size=1, max_size=40), st.lists(few_values, min_size=1, max_size=40))
def test_a_rebuilt_hyperband_decides_as_the_one_that_saw_it_all(losses, more):
    seen = build_pruner(RULE, Goal.MINIMIZE, 27)
    verdicts = seen.decide([Report(trial, 1, loss) for trial, loss in enumerate(losses)])
    standings = {Verdict.PAUSE: Standing.PAUSED, Verdict.CONTINUE: Standing.OPEN}
    history = [
        MeasuredTrial(trial, standings[verdict], ((1, loss),))
        for trial, (verdict, loss) in enumerate(zip(verdicts, losses, strict=True))
    ]
    rebuilt = build_pruner(RULE, Goal.MINIMIZE, 27, history)
    new = [Report(1000 + index, 1, loss) for index, loss in enumerate(more)]
    assert rebuilt.decide(new) == seen.decide(new)
    assert rebuilt.promotable() == seen.promotable()


@given(st.lists(st.tuples(few_values, few_values, few_values), min_size=1, max_size=30))
def test_a_rebuilt_halving_decides_as_the_one_that_saw_it_all(losses):
    rule = SuccessiveHalvingPruning(1, 3)
    seen, history, going_on = build_pruner(rule, Goal.MINIMIZE, 0), {}, list(range(len(losses)))
    standings = dict.fromkeys(going_on, Standing.OPEN)
    for level, step in enumerate((1, 3, 9)):
        verdicts = seen.decide([Report(trial, step, losses[trial][level]) for trial in going_on])
        for trial, verdict in zip(going_on, verdicts, strict=True):
            history[trial] = (*history.get(trial, ()), (step, losses[trial][level]))
            if verdict is Verdict.PRUNE:
                standings[trial] = Standing.ENDED
        going_on = [trial for trial in going_on if standings[trial] is Standing.OPEN]
    rebuilt = build_pruner(
        rule, Goal.MINIMIZE, 0, [MeasuredTrial(trial, standings[trial], history[trial]) for trial in history]
    )
    for step in (1, 3, 9, 27):
        reports = [Report(1000 + trial, step, float(trial % 9)) for trial in range(9)]
        assert rebuilt.decide(reports) == seen.decide(reports)


def test_rungs_of_every_halving_rule_are_its_measured_steps():
    assert measured_steps(HyperbandPruning(1, 3), 27) == STEPS
    assert measured_steps(HyperbandPruning(50, 4), 1000) == (50, 200, 800, 1000)
    assert measured_steps(SuccessiveHalvingPruning(2, 3, min_early_stopping_rate=1), 60) == (6, 18, 54, 60)
