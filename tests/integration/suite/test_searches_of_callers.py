"""Conditions, spread, several objectives, constraints, known points, priors and exports, by the SDK on a suite."""

import math
import statistics
from random import Random

import pytest

from hydro.client import (
    TrialPruned,
    at_most,
    choice,
    constant,
    integer,
    logint,
    loguniform,
    maximize,
    median,
    minimize,
    prior,
    uniform,
)
from hydro.kit.errors import FailedPrecondition, InvalidArgument, NotFound

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


PARENTS = {
    "optimizer": choice(["sgd", "adam"]),
    "depth": integer(1, 4),
    "rate": uniform(0.1, 0.3, step=0.1),
    "width": logint(1, 4),
    "mode": constant("fast"),
    "lr": loguniform(1e-3, 1),
    "momentum": uniform(0.5, 0.99).when(optimizer=["sgd"], depth=[3, 4]),
    "warmup": uniform(0, 1).when(rate=[0.3]),
    "wide": uniform(0, 1).when(width=[2, 4]),
    "bias": choice([True, False]).when(mode=["fast"]),
    "restarts": integer(1, 9).when(lr=[1]),
}
"""Parents of every domain. Of the continuum of learning rates the end is what a known point has."""


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2"])
def test_a_parameter_is_there_where_all_of_its_parents_allow_it_whatever_their_domain(client, sampler):
    study = client.create_study(
        f"parents-{sampler}", search_space=PARENTS, objective=minimize("loss"), sampler=sampler,
        known_points=[{"lr": 1.0}], trials=24, parallelism=1, seed=1,
    )  # fmt: skip
    study.optimize(lambda trial: trial.hyperparameters["lr"] * trial.hyperparameters["depth"])
    points = [dict(each.hyperparameters) for each in study.trials]
    both = {(point["optimizer"], point["depth"] > 2) for point in points}
    assert both == {("sgd", True), ("sgd", False), ("adam", True), ("adam", False)}
    for point in points:
        active = {"optimizer", "depth", "rate", "width", "mode", "lr", "bias"}
        active |= {"momentum"} if point["optimizer"] == "sgd" and point["depth"] > 2 else set()
        active |= {"warmup"} if point["rate"] == 0.3 else set()
        active |= {"wide"} if point["width"] in (2, 4) else set()
        active |= {"restarts"} if point["lr"] == 1 else set()
        assert point.keys() == active
    for child in ("momentum", "warmup", "wide"):
        assert 0 < sum(child in point for point in points) < len(points)
    assert "restarts" in points[0]


def test_conditions_that_no_trial_can_meet_are_refused_by_their_places(client):
    wrong = {
        **PARENTS,
        "momentum": uniform(0.5, 0.99).when(optimizer=["sgd"], rate=[0.1, 0.25]),
        "warmup": uniform(0, 1).when(optimizer=["SGD"]),
        "wide": uniform(0, 1).when(width=[8]),
        "bias": choice([True, False]).when(mode=["slow"]),
        "restarts": integer(1, 9).when(lr=[2]),
        "orphan": uniform(0, 1).when(nothing=[1]),
        "never": uniform(0, 1).when(depth=[1]).when(depth=[2]),
    }
    with pytest.raises(InvalidArgument) as caught:
        client.create_study("unmet", search_space=wrong, objective=minimize("loss"))
    place = "study.search_space.parameters"
    assert [(each.field, each.description) for each in caught.value.violations] == [
        (f"{place}[6].conditions[1].values", "has 0.25, but 'rate' is a number from 0.1 to 0.3 in steps of 0.1"),
        (f"{place}[7].conditions[0].values", "has 'SGD', but 'optimizer' is one of 'sgd', 'adam'"),
        (f"{place}[8].conditions[0].values", "has 8, but 'width' is a whole number from 1 to 4"),
        (f"{place}[9].conditions[0].values", "has 'slow', but 'mode' is 'fast'"),
        (f"{place}[10].conditions[0].values", "has 2, but 'lr' is a number from 0.001 to 1.0"),
        (f"{place}[11].conditions[0].parent", f"is 'nothing', no parameter: give one of {', '.join(wrong)}"),
        (f"{place}[12].conditions", "on 'depth' have no value in common: 'never' is never active"),
    ]
    with pytest.raises(NotFound):
        client.get_study("unmet")


@pytest.mark.parametrize("seed", [0, 5])
def test_a_quasi_random_search_has_its_points_spread_evenly_whatever_its_seed(client, seed):
    space = {"x": uniform(0, 16), "rate": loguniform(1, 2**16), "kind": choice(["a", "b", "c", "d"])}
    study = client.create_study(
        f"even-{seed}", search_space=space, objective=minimize("loss"), sampler="sobol", trials=16, parallelism=16,
        seed=seed,
    )  # fmt: skip
    points = [study.ask().hyperparameters for _ in range(16)]
    study.cancel()
    places = [(int(each["x"]), int(math.log2(each["rate"]))) for each in points]
    # One in each sixteenth of a dimension, and one in each of the sixteen squares of the first two.
    assert sorted(x for x, _ in places) == sorted(rate for _, rate in places) == list(range(16))
    assert len({(x // 4, rate // 4) for x, rate in places}) == 16
    assert sorted(each["kind"] for each in points) == sorted("abcd" * 4)


def trade_off(point):
    """Two costs that pull apart along `x`, and that everything else only makes worse.

    Source: ZDT1 of Zitzler, Deb and Thiele, "Comparison of Multiobjective Evolutionary Algorithms" (2000).
    """
    rest = 1 + 3 * (point["u"] + point["v"] + point["w"])
    return point["x"], rest * (1 - math.sqrt(point["x"] / rest))


def dominated_area(points, corner=(1.0, 10.0)):
    """How much of the rectangle from the best values (0, 0) to the corner is worse than one of the points."""
    area, height = 0.0, corner[1]
    for first, second in sorted(points):
        if second < height:
            area += (corner[0] - first) * (height - second)
            height = second
    return area


def test_nsga2_finds_the_front_of_objectives_that_conflict_better_than_chance_does(client):
    study = client.create_study(
        "conflict", search_space={name: uniform(0, 1) for name in "xuvw"}, sampler="nsga2", trials=64, parallelism=1,
        objective=[minimize("latency"), minimize("error")],
    )  # fmt: skip
    study.optimize(lambda trial: trade_off(trial.hyperparameters))
    trials = study.trials
    found = {each.number: each.values for each in trials}

    def is_beaten(point):
        return any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in found.values())

    front = {each.number: each.values for each in study.best_trials}
    assert front == {number: values for number, values in found.items() if not is_beaten(values)}
    assert 1 < len(front) < len(found)
    # The last four of eight generations; of draws at random the mean is 0.5, its deviation 0.03.
    last = trials[32:]
    assert statistics.mean(each.hyperparameters[name] for each in last for name in "uvw") < 0.4
    chance = Random(0)
    drawn = [[trade_off({name: chance.random() for name in "xuvw"}) for _ in last] for _ in range(20)]
    assert dominated_area(each.values for each in last) > max(map(dominated_area, drawn))


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


def first_asks(client, study_id, seed=0, sampler="tpe", priors=(), count=8):
    """What the search gives before it is told a result: which results it knows of is otherwise a matter of time."""
    study = client.create_study(
        study_id, search_space={"x": uniform(0, 1)}, objective=minimize("loss"), sampler=sampler, prior=priors,
        trials=16 * count, parallelism=count, seed=seed,
    )  # fmt: skip
    found = [study.ask().hyperparameters["x"] for _ in range(count)]
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


def test_trials_that_are_open_at_once_are_spread_wider_than_if_each_were_the_only_one(client, optimum):
    def width(found):
        return max(found) - min(found)

    together = first_asks(client, "together", priors=[prior(optimum)])
    # Each knows what those of the other study know, but of no open trial.
    alone = [first_asks(client, f"alone-{seed}", seed, priors=[prior(optimum)], count=1) for seed in range(8)]
    assert width(together) > 3 * width([x for (x,) in alone])


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
