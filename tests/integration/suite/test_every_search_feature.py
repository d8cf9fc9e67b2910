"""Every sampler, every pruning rule, every end of a study and what loops of one's own are told, by the SDK.

On the suite that this folder shares: a real coordinator, real search processes, a real Postgres. Each feature drives a
short study of its own.
"""

import re

import pytest

from hydro.client import (
    StudyState,
    TrialPruned,
    TrialState,
    asha,
    at_most,
    by_time,
    choice,
    constant,
    hyperband,
    integer,
    learning_curve,
    logint,
    loguniform,
    maximize,
    median,
    minimize,
    patience,
    percentile,
    stop_when,
    successive_halving,
    threshold,
    uniform,
)
from hydro.kit.errors import FailedPrecondition, InvalidArgument, OutOfRange

SPACE = {
    "x": uniform(-2, 2),
    "rate": loguniform(1e-3, 1),
    "width": logint(8, 512),
    "kind": choice(["plain", "deep"]),
    "depth": integer(1, 5, step=2).when(kind=["deep"]),
    "shift": uniform(0, 1, step=0.25).when(depth=[3, 5]),
    "mixed": choice([1, True, "1", 0.5]),
    "slope": uniform(0, 1).when(mixed=[True]),
    "epochs": constant(3),
    "nesterov": constant(True),
    "decay": constant(0.5),
    "optimizer": constant("sgd"),
}
"""Scalars of every type; 1 and True are two values, and only one of them has a slope."""
GRID = {
    **SPACE,
    "x": uniform(1, 1),
    "rate": constant(0.1),
    "width": integer(8, 8),
    "slope": uniform(0, 1, step=1).when(mixed=[True]),
}
POINTS = (1 + 1 + 5 + 5) * (3 + 2)

TRIALS = {
    "grid": POINTS, "random": 8, "sobol": 8, "tpe": 14, "gp": 14, "cmaes": 14, "nsga2": 24, "bohb": 14, "hyperopt": 24,
    "hyperopt-anneal": 8, "toy": 8,
}  # fmt: skip
"""More than a sampler's own start-up trials (TPE and GP 10, CMA-ES 5, NSGA-II 8, Hyperopt's TPE 20)."""
MOST_STALE = 2
"""Results that the last suggestion of a loop in one thread may have missed."""


def cost(trial):
    """Small where x is 1 and the model is deep; measured at the rungs of `hyperband(1, 9)`."""
    x, depth = trial.hyperparameters["x"], trial.hyperparameters.get("depth", 0)
    value = (x - 1) ** 2 + 1 / (1 + depth)
    for step in (1, 3, 9):
        if trial.report(step, value + 1 / step):
            raise TrialPruned
    return value


def typed(values):
    """Scalars with their types: in Python 1 equals True."""
    return [(type(each), each) for each in values]


def check_point(hyperparameters):
    """Exactly the active parameters, each of its type and in its domain."""
    active = {"x", "rate", "width", "kind", "mixed", "epochs", "nesterov", "decay", "optimizer"}
    active |= {"depth"} if hyperparameters["kind"] == "deep" else set()
    active |= {"shift"} if hyperparameters.get("depth") in (3, 5) else set()
    active |= {"slope"} if hyperparameters["mixed"] is True else set()
    assert hyperparameters.keys() == active
    assert type(hyperparameters["x"]) is float and -2 <= hyperparameters["x"] <= 2
    assert 1e-3 <= hyperparameters["rate"] <= 1 and 0 <= hyperparameters.get("slope", 0) <= 1
    assert type(hyperparameters["width"]) is int and 8 <= hyperparameters["width"] <= 512
    assert hyperparameters.get("shift", 0) in (0, 0.25, 0.5, 0.75, 1)
    assert hyperparameters["kind"] in ("plain", "deep") and hyperparameters.get("depth", 1) in (1, 3, 5)
    assert typed([hyperparameters["mixed"]])[0] in typed([1, True, "1", 0.5])
    constants = [hyperparameters[name] for name in ("epochs", "nesterov", "decay", "optimizer")]
    assert typed(constants) == typed([3, True, 0.5, "sgd"])


@pytest.mark.parametrize("sampler", TRIALS)
def test_a_sampler_searches_a_space_with_conditions_to_the_study_s_end(client, sampler):
    space = GRID if sampler == "grid" else SPACE
    pruner = hyperband(1, 9) if sampler == "bohb" else None
    study = client.create_study(
        f"search-{sampler}", search_space=space, objective=minimize("loss"), sampler=sampler, pruner=pruner,
        trials=TRIALS[sampler], parallelism=1, seed=3,
    )  # fmt: skip
    study.optimize(cost)
    assert study.wait(timeout_seconds=60).state is StudyState.SUCCEEDED
    trials = study.trials
    assert len(trials) == TRIALS[sampler]
    points = [dict(each.hyperparameters) for each in trials]
    for point in points:
        check_point(point)
    assert len({str(sorted(each.items())) for each in points}) == len(points)
    states = {each.state for each in trials}
    assert states == {TrialState.SUCCEEDED} | ({TrialState.PRUNED} if pruner else set())
    assert trials[-1].replay() == points[-1]
    if sampler != "random":
        # Random draws from a continuum follow from no other trial.
        known = [number for each in trials for number in each.snapshot.searched.ended]
        assert len(known) >= len(trials) - 1 - MOST_STALE


@pytest.mark.parametrize(
    ("sampler", "trials"), [("nsga2", 24), ("tpe", 24), ("random", 24), pytest.param("gp", 13, marks=pytest.mark.slow)]
)
def test_a_sampler_searches_for_a_front_under_a_constraint(client, sampler, trials):
    study = client.create_study(
        f"front-{sampler}", search_space=SPACE, objective=[minimize("loss"), maximize("gain")],
        constraints=[at_most("size", 1.0)], sampler=sampler, trials=trials, parallelism=1,
    )  # fmt: skip
    study.optimize(lambda trial: dict.fromkeys(("loss", "gain", "size"), trial.hyperparameters["x"]))
    assert study.wait(timeout_seconds=30).state is StudyState.SUCCEEDED
    # The two pull apart, so that no feasible trial is better than another.
    feasible = [each.number for each in study.trials if each.hyperparameters["x"] <= 1]
    assert [each.number for each in study.best_trials] == feasible
    assert {each.number for each in study.trials if each.feasible} == set(feasible)


FINITE = {
    "kind": choice(["plain", "deep"]),
    "depth": integer(1, 5, step=2).when(kind=["deep"]),
    "bias": choice([True, False]),
}


@pytest.mark.parametrize("sampler", ["random", "tpe", "nsga2", "hyperopt"])
def test_trials_in_parallel_have_every_point_of_a_small_space_before_any_comes_again(client, sampler):
    study = client.create_study(
        f"finite-{sampler}", search_space=FINITE, objective=minimize("loss"), sampler=sampler, trials=8, parallelism=4
    )
    study.optimize(lambda trial: float(trial.hyperparameters.get("depth", 0)), jobs=4)
    assert len({str(sorted(each.hyperparameters.items())) for each in study.trials}) == 8


LR, WIDTH = {"lr": loguniform(1e-4, 1)}, {"width": logint(8, 512)}
TWO = [minimize("loss"), maximize("gain")]
AUTO = {
    "grid": ({"kind": choice(["a", "b"])}, {"trials": 8}, "GRID: the 2 points of the space are no more than the 8"),
    "sobol": (LR, {"trials": 8, "parallelism": 8}, "QUASI_RANDOM: all 8 trials may run at once"),
    "gp": (LR | WIDTH, {"trials": 100}, "GP: 2 numbers, 100 trials and 4 at once"),
    "cmaes": (LR | WIDTH, {"trials": 2_000}, "CMA_ES: 2000 trials of 2 numbers"),
    "nsga2": (LR, {"trials": 900, "objective": TWO}, "NSGA2: 900 trials with several objectives"),
    "tpe": (SPACE, {"trials": 100}, "TPE: TPE takes every kind of parameter"),
}
"""A space, the rest of a study, and why its sampler is chosen."""


@pytest.mark.parametrize("sampler", AUTO)
def test_auto_chooses_by_the_shape_of_a_study_and_says_why(client, sampler):
    space, options, reason = AUTO[sampler]
    given = {"objective": minimize("loss"), "parallelism": 4, **options}
    study = client.create_study(f"auto-{sampler}", search_space=space, sampler="auto", **given)
    chosen = study.snapshot()
    study.cancel()
    assert chosen.settings.sampler == sampler
    assert chosen.sampler_reason.startswith(f"auto chose {reason}")


def test_a_sampler_of_one_objective_is_refused_with_several(client):
    with pytest.raises(InvalidArgument, match="takes one objective: choose NSGA2 or TPE") as caught:
        client.create_study(
            "one-loss", search_space=SPACE, objective=[minimize("loss"), maximize("gain")], sampler="hyperopt"
        )
    assert [each.field for each in caught.value.violations] == ["study.external_sampler"]


def level(value, *steps):
    """(step, value, elapsed seconds) of a trial that does not get better."""
    return [(step, value, 10.0 * step) for step in steps]


def falling(scale, last, floor=0.0):
    """A trial that follows a power law."""
    return [(step, floor + scale / step, float(step)) for step in range(1, last + 1)]


def plus(course, more):
    """The same course, with higher values."""
    return [(step, value + more, seconds) for step, value, seconds in course]


WHOLE = (1, 2, 3, 4)
BEFORE = [level(value, *WHOLE) for value in (1.0, 2.0, 3.0, 4.0)]
RISING = [(1, 1.0, 1.0), (2, 2.0, 2.0), (3, 2.5, 3.0)]
FALLING = [(1, 3.0, 10.0), (2, 2.0, 20.0), (3, 1.0, 30.0)]
FINISHED = [*FALLING, (4, 0.5, 40.0)]

RULES = {
    "median": (median(1, 4, startup_trials=4), BEFORE, level(2.6, 1), level(2.4, *WHOLE)),
    # The median would spare the first one.
    "percentile": (percentile(25, 1, 4, startup_trials=4), BEFORE, level(2.4, 1), level(1.7, *WHOLE)),
    "patience": (patience(None, 1, 1, 4), [], RISING, FINISHED),
    # The median would prune both: the second one has become better all the while.
    "patience-of-median": (
        patience(median(1, 4, startup_trials=2), 1, 1, 4), [FINISHED] * 2, plus(RISING, 5), plus(FINISHED, 5),
    ),
    "threshold": (threshold(1, 4, upper=5.0), [], [(1, 4.0, 1.0), (2, 6.0, 2.0)], level(4.0, *WHOLE)),
    "successive-halving": (
        successive_halving(1, 4, 2), [level(2.0, 1, 2, 4)] * 2, level(3.0, 1), level(1.0, 1, 2, 4),
    ),
    "asha": (asha(1, 4, 2), [level(2.0, 1, 2, 4)] * 2, level(3.0, 1), level(1.0, 1, 2, 4)),
    # Trials 0, 2, 4 and 5 are in the bracket that begins to halve at step 1.
    "hyperband": (hyperband(1, 9, 3), [level(2.0, 1, 3, 9)] * 4, level(3.0, 1), level(1.0, 1, 3, 9)),
    "learning-curve": (learning_curve(1, 16), [falling(1.0, 16)], falling(1.0, 15, floor=2.0), falling(0.5, 16)),
    # By steps it is the other way round: the first one is better than the others at step 1, the second worse at 3.
    "by-time": (
        by_time(median(1, 4, startup_trials=2), 10), [FINISHED] * 2, [(1, 2.5, 30.0)], [(3, 1.5, 15.0), (4, 1.4, 60.0)],
    ),
}  # fmt: skip
"""The rule, the trials before, and the courses of one that deserves to be pruned and of one that does not."""


def advised(trial, course):
    """The step at which the trial is advised to stop; None: at none."""
    for step, value, seconds in course:
        if trial.report(step, value, elapsed_seconds=seconds):
            return step
    return None


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_prunes_the_trial_that_deserves_it_and_spares_the_one_that_does_not(client, rule):
    pruner, before, bad, good = RULES[rule]
    study = client.create_study(
        f"prune-{rule}", search_space={"x": uniform(0, 1)}, objective=minimize("loss"), sampler="random",
        pruner=pruner, trials=len(before) + 2, parallelism=1,
    )  # fmt: skip
    for course in before:
        trial = study.ask()
        for step, value, seconds in course:
            trial.report(step, value, elapsed_seconds=seconds)
        trial.tell(course[-1][1])
    pruned = study.ask()
    step = advised(pruned, bad)
    assert step is not None
    # Sent again it is the same advice.
    assert pruned.report(*next(each[:2] for each in bad if each[0] == step))
    pruned.prune()
    spared = study.ask()
    assert advised(spared, good) is None
    spared.tell(good[-1][1])
    assert study.wait(timeout_seconds=30).state is StudyState.SUCCEEDED
    states = [each.state for each in study.trials]
    assert states == [TrialState.SUCCEEDED] * len(before) + [TrialState.PRUNED, TrialState.SUCCEEDED]
    assert [each.step for each in study.trials[-2].measurements] == [each[0] for each in bad if each[0] <= step]


def rise(trial):
    """No trial is better than the first one."""
    return 1.0 + trial.number


def break_down(trial):
    """The third trial finds no file."""
    if trial.number % 3 == 2:
        raise FileNotFoundError("no data here")
    return 1.0


ENDS = {
    "duration": ({"stopping": stop_when(max_duration_seconds=0.3)}, rise, StudyState.SUCCEEDED, "the time is over: "),
    "improvement": (
        {"stopping": stop_when(max_trials_without_improvement=3)}, rise, StudyState.SUCCEEDED, "no trial of the last ",
    ),
    "target": (
        {"stopping": stop_when(target_value=1.0)}, rise, StudyState.SUCCEEDED, "the target value 1 was reached: ",
    ),
    "failures": ({"failure_budget": 2}, break_down, StudyState.FAILED, r"\d+ trials failed, and failure_budget is 2"),
}  # fmt: skip
"""What ends the study, what its trials do, how it ends, and the reason that it gives."""


@pytest.mark.parametrize("end", ENDS)
def test_a_study_ends_before_its_trials_do_and_says_why(client, end):
    options, objective, state, reason = ENDS[end]
    study = client.create_study(
        f"end-{end}", search_space=SPACE, objective=minimize("loss"), sampler="random", trials=10_000, **options
    )
    study.optimize(objective, catch=(FileNotFoundError,))
    last = study.snapshot()
    if state is StudyState.FAILED:
        with pytest.raises(FailedPrecondition, match="FileNotFoundError: no data here"):
            study.wait(timeout_seconds=30)
        last = study.snapshot()
    assert last.state is state and re.match(reason, last.state_reason)
    assert sum(last.statistics.trials_by_state.values()) < 10_000
    assert last.best_trial.number == 0


def test_the_mean_of_a_trial_s_repeats_is_told_and_its_first_repeat_is_measured(client):
    study = client.create_study("repeats", search_space=SPACE, objective=minimize("loss"), sampler="random", trials=2)
    seeds = []

    def noisy(trial):
        seeds.append(trial.seed)
        trial.report(1, 10.0 + trial.repeat)
        return {"loss": float(trial.repeat), "size": 4.0}

    study.optimize(noisy, repeats=3)
    assert len(set(seeds)) == 6
    for trial in study.trials:
        assert trial.value == 1.0
        assert dict(trial.metrics) == {"loss": 1.0, "size": 4.0, "repeats": 3.0, "loss_standard_deviation": 1.0}
        assert [(each.step, dict(each.metrics)) for each in trial.measurements] == [(1, {"loss": 10.0})]


def test_callbacks_and_logs_are_given_every_trial_once_with_all_that_it_measured(client):
    study = client.create_study("followed", search_space=SPACE, objective=minimize("loss"), sampler="random", trials=3)
    seen, logged = [], []

    def objective(trial):
        trial.report(1, {"loss": 2.0, "accuracy": 0.5})
        trial.report(2, {"loss": 1.0, "accuracy": 0.75})
        if trial.number == 1:
            raise TrialPruned
        if trial.number == 2:
            raise ValueError("no such layer")
        return 0.5

    def told(kept):
        return lambda of, trial: kept.append((str(of.name), trial.number, trial.state))

    study.optimize(objective, catch=(ValueError,), callbacks=[told(seen)])
    study.log_to(told(logged), lambda of, trial: logged.append([dict(each.metrics) for each in trial.measurements]))
    states = [TrialState.SUCCEEDED, TrialState.PRUNED, TrialState.FAILED]
    assert seen == [(str(study.name), number, state) for number, state in enumerate(states)]
    assert sorted(logged[::2]) == seen
    assert logged[1::2] == [[{"loss": 2.0, "accuracy": 0.5}, {"loss": 1.0, "accuracy": 0.75}]] * 3
    reason = study.trials[2].state_reason
    assert reason.startswith("ValueError: no such layer\n") and 'raise ValueError("no such layer")' in reason


def test_a_paused_study_gives_no_trial_takes_what_is_told_and_goes_on_when_it_is_resumed(client):
    study = client.create_study("paused", search_space=SPACE, objective=minimize("loss"), sampler="random", trials=3)
    opened = study.ask()
    study.pause()
    assert study.state is StudyState.PAUSED
    with pytest.raises(FailedPrecondition, match="is PAUSED and gives no trial: resume it first"):
        study.ask()
    opened.tell(0.5)
    study.resume()
    study.optimize(lambda trial: 1.0)
    assert study.wait(timeout_seconds=30).state is StudyState.SUCCEEDED
    assert [each.value for each in study.trials] == [0.5, 1.0, 1.0]
    with pytest.raises(OutOfRange, match="has come to its end"):
        study.ask()


def test_a_cancelled_study_cancels_its_open_trials(client):
    study = client.create_study("gone", search_space=SPACE, objective=minimize("loss"), sampler="random", trials=3)
    opened = study.ask()
    study.cancel()
    assert study.state is StudyState.CANCELLED
    assert opened.refresh().state is TrialState.CANCELLED
    with pytest.raises(FailedPrecondition, match="CANCELLED"):
        opened.report(1, 0.5)
    with pytest.raises(FailedPrecondition, match="is CANCELLED and gives no trial"):
        study.ask()
