"""Several objectives, constraints, known points, priors and exports, by the SDK on a suite of one's own."""

import statistics

import pytest

from hydro.client import TrialPruned, at_most, choice, maximize, median, minimize, prior, uniform
from hydro.kit.errors import FailedPrecondition, InvalidArgument

SPACE = {
    "x": uniform(0, 1),
    "kind": choice(["even", "odd"]),
    "shift": uniform(0, 1).when(kind=["odd"]),
}


def costs(trial):
    """Two objectives that pull apart, and a metric that half of the space keeps below 0.5."""
    x = float(trial.hyperparameters["x"])
    return {"loss": x**2, "gain": x, "size": x}


def test_a_study_of_two_objectives_and_a_constraint_gives_its_front_and_goes_to_optuna(client):
    study = client.create_study(
        "front",
        search_space=SPACE,
        objective=[minimize("loss"), maximize("gain")],
        constraints=[at_most("size", 0.5)],
        trials=24,
    )
    study.optimize(costs, jobs=2)
    feasible = [each for each in study.trials if each.hyperparameters["x"] <= 0.5]
    # Every trial of this trade-off is on the front, as long as it is feasible.
    assert [each.number for each in study.best_trials] == [each.number for each in feasible]
    assert study.best_trial.value == min(each.value for each in feasible)
    assert study.best_trial.feasible and study.best_trial.metrics["size"] <= 0.5
    exported = study.to_optuna()
    assert [each.number for each in exported.best_trials] == [each.number for each in feasible]
    assert exported.trials[0].values == list(study.trials[0].values)
    assert exported.metric_names == ["loss", "gain"]
    table = study.to_dataframe()
    assert list(table["feasible"]) == [each.feasible for each in study.trials]
    assert list(table["values_1"]) == [each.values[1] for each in study.trials]


def test_pruning_with_two_objectives_is_refused_by_name(client):
    with pytest.raises(InvalidArgument) as caught:
        client.create_study(
            "pruned-front",
            search_space=SPACE,
            objective=[minimize("loss"), maximize("gain")],
            pruner=median(interval_steps=1, max_steps=8),
        )
    assert [each.field for each in caught.value.violations] == ["study.pruner"]


def test_a_metric_that_is_missing_at_the_end_is_refused_by_name(client):
    study = client.create_study(
        "missing", search_space=SPACE, objective=minimize("loss"), constraints=[at_most("size", 0.5)], trials=1
    )
    trial = study.ask()
    with pytest.raises(InvalidArgument, match=r"metrics\['size'\]: is missing"):
        trial.tell(0.5)
    trial.report(1, {"loss": 0.75, "size": 1.0})
    trial.tell(0.5)
    assert study.trials[0].feasible is False and study.trials[0].metrics == {"loss": 0.5, "size": 1.0}


def test_known_points_come_first_in_their_order_and_once(client):
    study = client.create_study(
        "points", search_space=SPACE, objective=minimize("loss"), known_points=[{"x": 0.25}, {"x": 1}], trials=6
    )
    trials = [study.ask()]
    study.enqueue({"x": 0.75, "kind": "odd", "shift": 0.5})
    trials += [study.ask() for _ in range(4)]
    assert [each.hyperparameters["x"] for each in trials[:3]] == [0.25, 1.0, 0.75]
    assert dict(trials[2].hyperparameters) == {"x": 0.75, "kind": "odd", "shift": 0.5}
    assert [each.snapshot.known_point for each in trials] == [0, 1, 2, None, None]
    with pytest.raises(InvalidArgument, match=r"known_points: are 2: give at most 1"):
        study.enqueue({"x": 0.5}, {"x": 0.5})
    with pytest.raises(InvalidArgument) as caught:
        study.enqueue({"x": 2.0})
    assert [each.field for each in caught.value.violations] == ["known_points[0].hyperparameters['x']"]
    study.cancel()
    with pytest.raises(FailedPrecondition, match="is CANCELLED"):
        study.enqueue({"x": 0.5})


def test_a_search_begins_with_the_trials_of_another(client):
    before = client.create_study("before", search_space=SPACE, objective=minimize("loss"), sampler="random", trials=40)
    before.optimize(lambda trial: (trial.hyperparameters["x"] - 0.2) ** 2)
    narrower = {"x": uniform(0, 0.9), "depth": choice([1, 2])}
    study = client.create_study(
        "after", search_space=narrower, objective=minimize("loss"), prior=[prior("before", weight=0.5)], trials=40
    )
    outside = sum(each.hyperparameters["x"] > 0.9 for each in before.trials)
    warned = f"prior projects/default/studies/before: {outside} of 40 trials are left out: a value of 'x'"
    assert [each.startswith(warned) for each in study.warnings] == ([True] if outside else [])
    assert study.settings.priors == (prior("projects/default/studies/before", 0.5),)


@pytest.fixture(scope="module")
def optimum(client):
    """A study of x that was best at 0.2, for others to begin with."""
    before = client.create_study(
        "optimum", search_space={"x": uniform(0, 1)}, objective=minimize("loss"), sampler="random", trials=40
    )
    before.optimize(lambda trial: (trial.hyperparameters["x"] - 0.2) ** 2)
    return str(before.name)


def first_asks(client, study_id, seed=0, sampler="tpe", priors=()):
    """What the search gives before it is told a result: which results it knows of is otherwise a matter of time."""
    study = client.create_study(
        study_id, search_space={"x": uniform(0, 1)}, objective=minimize("loss"), sampler=sampler, prior=priors,
        trials=128, parallelism=8, seed=seed,
    )  # fmt: skip
    found = [study.ask().hyperparameters["x"] for _ in range(8)]
    study.cancel()
    return found


@pytest.mark.parametrize("sampler", ["random", "sobol", "tpe", "hyperopt"])
def test_a_study_of_the_same_seed_is_given_the_same_points_and_one_of_another_seed_others(client, optimum, sampler):
    first, again, other = (
        first_asks(client, f"seeded-{sampler}-{place}", seed, sampler, [prior(optimum)])
        for place, seed in enumerate((3, 3, 4))
    )
    assert first == again
    assert not set(first) & set(other)


def test_a_search_begins_where_its_prior_was_best_and_the_less_so_the_less_that_weighs(client, optimum):
    def distance(study_id, *priors):
        return statistics.median(abs(each - 0.2) for each in first_asks(client, study_id, priors=priors))

    whole, some = distance("whole-prior", prior(optimum)), distance("some-prior", prior(optimum, weight=0.05))
    none = distance("no-prior")
    assert whole < 0.5 * none
    assert whole < some


def test_wrong_priors_are_named(client):
    with pytest.raises(InvalidArgument) as caught:
        client.create_study(
            "wrong-prior",
            search_space=SPACE,
            objective=minimize("loss"),
            prior=[prior("nosuch"), prior("projects/p/x")],
        )
    assert [each.field for each in caught.value.violations] == ["study.priors[1].study"]


def test_every_state_goes_to_optuna_with_its_intermediate_values_and_its_conditions(client):
    study = client.create_study("states", search_space=SPACE, objective=minimize("loss"), trials=12, parallelism=4)

    def objective(trial):
        trial.report(1, 1.0 + trial.number)
        if trial.number % 4 == 1:
            raise TrialPruned
        if trial.number % 4 == 2:
            raise ValueError("no")
        return 0.5 + trial.number

    study.optimize(objective, trials=11, catch=(ValueError,))
    study.ask()
    exported = study.to_optuna()
    states = [each.state.name for each in exported.trials]
    assert states == ["COMPLETE", "PRUNED", "FAIL", "COMPLETE"] * 2 + ["COMPLETE", "PRUNED", "FAIL", "RUNNING"]
    for ours, theirs in zip(study.trials, exported.trials, strict=True):
        assert theirs.params == dict(ours.hyperparameters)
        assert ("shift" in theirs.params) == (theirs.params["kind"] == "odd")
        assert theirs.intermediate_values == {each.step: each.metrics["loss"] for each in ours.measurements}
    assert exported.best_trial.number == study.best_trial.number
    importance = study.importance()
    assert set(importance) <= {"x", "kind"} and sum(importance.values()) == pytest.approx(1)
