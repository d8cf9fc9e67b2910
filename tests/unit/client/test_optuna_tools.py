"""An exported study loads into Optuna's plots and its importance: the real ones."""

from dataclasses import replace
from datetime import UTC, datetime

import optuna
import pytest

from hydro.client import at_most, choice, maximize, minimize, no_pruning, surrogate, uniform
from hydro.client.importance import importance
from hydro.client.names import StudyName
from hydro.client.optuna_export import optuna_study
from hydro.client.snapshots import (
    Measurement,
    StudySettings,
    StudySnapshot,
    StudyState,
    StudyStatistics,
    TrialKind,
    TrialSnapshot,
    TrialState,
)
from hydro.kit.errors import FailedPrecondition

NAME = StudyName("p", "export")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPACE = {"x": uniform(0, 1), "kind": choice(["even", "odd"]), "shift": uniform(0, 1).when(kind=["odd"])}


def study(**changes):
    settings = StudySettings(SPACE, minimize("loss"), "tpe", no_pruning(4), surrogate(1.0), 16, 4, 0, **changes)
    return StudySnapshot(NAME, "", settings, StudyState.SEARCHING, "", (), "", None, StudyStatistics(), NOW, None)


def trial(number, state=TrialState.SUCCEEDED, several=False):
    x = number / 16
    hyperparameters = {"x": x, "kind": "odd", "shift": 0.5} if number % 2 else {"x": x, "kind": "even"}
    measurements = tuple(Measurement(step, {"loss": x + 1 / step, "memory": 16 * x}) for step in (1, 2))
    ended = state is TrialState.SUCCEEDED
    values = ((x, x**2) if several else (x,)) if ended else ()
    return TrialSnapshot(
        NAME.trial(number), TrialKind.SEARCH, state, "", hyperparameters, measurements, x if ended else None, 2, 0, 0.0,
        None, NOW, NOW if state.has_ended else None, "", values, {"memory": 16 * x} if ended else {},
    )  # fmt: skip


@pytest.fixture
def one():
    states = {3: TrialState.PRUNED, 5: TrialState.PAUSED, 7: TrialState.FAILED, 14: TrialState.RUNNING,
              15: TrialState.PENDING}  # fmt: skip
    trials = [trial(number, states.get(number, TrialState.SUCCEEDED)) for number in range(16)]
    return optuna_study(study(constraints=(at_most("memory", 8.0),)), trials, None)


@pytest.fixture
def two():
    settings = {"further_objectives": (maximize("gain"),), "constraints": (at_most("memory", 8.0),)}
    return optuna_study(study(**settings), [trial(number, several=True) for number in range(16)], None)


def test_one_objective_is_drawn(one):
    drawn = optuna.visualization
    shown = {each.name: len(each.x) for each in drawn.plot_optimization_history(one).data}
    # Five of the eleven that succeeded are beyond the constraint.
    assert (shown["Objective Value"], shown["Infeasible Trial"]) == (6, 5)
    assert len(drawn.plot_intermediate_values(one).data) == 14  # all but the failed and the pending one
    for plot in (drawn.plot_slice, drawn.plot_parallel_coordinate, drawn.plot_timeline, drawn.plot_edf):
        assert plot(one).data
    assert drawn.plot_param_importances(one, evaluator=optuna.importance.PedAnovaImportanceEvaluator()).data


def test_two_objectives_are_drawn_with_what_is_feasible_and_what_is_not(two):
    shown = optuna.visualization.plot_pareto_front(two)
    assert [len(each.x) for each in shown.data] == [7, 0, 9]  # infeasible, dominated, best
    assert [each.number for each in two.best_trials] == list(range(9))


def test_importance_is_of_the_first_objective_and_adds_up(one, two):
    for exported, objectives in ((one, [minimize("loss")]), (two, [minimize("loss"), maximize("gain")])):
        found = importance(exported, objectives)
        assert next(iter(found)) == "x" and sum(found.values()) == pytest.approx(1)


def test_importance_of_one_trial_says_what_it_needs():
    with pytest.raises(FailedPrecondition, match="1 trials have succeeded: importance needs 2"):
        importance(optuna_study(study(), [trial(0)], None), [minimize("loss")])


def test_choices_that_are_equal_in_python_alone_stay_apart():
    values = (1, True, "1", 0.5)
    made = study()
    made = replace(made, settings=replace(made.settings, search_space={"mixed": choice(values)}))
    trials = [replace(trial(number), hyperparameters={"mixed": value}) for number, value in enumerate(values)]
    exported = optuna_study(made, trials, None)
    found = [each.distributions["mixed"].to_internal_repr(each.params["mixed"]) for each in exported.trials]
    assert found == [0, 1, 2, 3]
    assert exported.trials[1].params == {"mixed": "True"}
