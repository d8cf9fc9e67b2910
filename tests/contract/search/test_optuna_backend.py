"""The backends keep the laws of the search port, here and in processes of their own; TPE's answers are Optuna's."""

import optuna
import pytest

from hydro.coordinator.search.ask_seed import ask_seed
from hydro.coordinator.search.conformance import SPACE, SearchBackendConformance, request
from hydro.coordinator.search.optuna_backend import OptunaBackend
from hydro.coordinator.search.optuna_history import BEST_TRIALS, MOST_TRIALS, OptunaHistory
from hydro.coordinator.search.random_backend import RandomBackend
from hydro.coordinator.search.search_backend import KnownTrial, Outcome
from hydro.coordinator.search.search_pool import SearchPool
from hydro.coordinator.search.search_process import SearchProcess
from hydro.coordinator.search_space import (
    CategoricalDomain,
    Condition,
    FloatDomain,
    IntDomain,
    Parameter,
    SearchSpace,
)
from hydro.coordinator.study import Goal, Sampler


class TestOptunaBackend(SearchBackendConformance):
    # Gaussian processes take seconds for each suggestion: test_gp_search.py has them.
    samplers = tuple(each for each in SearchBackendConformance.samplers if each is not Sampler.GP)

    @pytest.fixture
    def backend(self):
        return OptunaBackend()


class TestSearchPool(SearchBackendConformance):
    samplers = (Sampler.RANDOM, Sampler.TPE, Sampler.NSGA2)

    @pytest.fixture
    async def backend(self):
        pool = SearchPool(2)
        yield pool
        await pool.close()


async def test_a_process_gives_what_the_backend_gives():
    process = SearchProcess()
    here = OptunaBackend()
    history = await SearchBackendConformance().history(60)
    asked = request(sampler=Sampler.TPE, history=history, count=5, first_index=60)
    assert await process.ask(asked) == await here.ask(asked)
    await process.close()


PLAIN = SearchSpace((Parameter("lr", FloatDomain(1e-4, 1.0, log=True)), Parameter("layers", IntDomain(2, 9))))
KINDS = ("plain", "deep")
CONDITIONAL = SearchSpace(
    (
        Parameter("kind", CategoricalDomain(KINDS)),
        Parameter("lr", FloatDomain(1e-4, 1.0, log=True)),
        Parameter("layers", IntDomain(2, 9), (Condition("kind", ("deep",)),)),
        Parameter("skip", FloatDomain(0.0, 1.0), (Condition("kind", ("deep",)),)),
    )
)
DISTRIBUTIONS = {
    "lr": optuna.distributions.FloatDistribution(1e-4, 1.0, log=True),
    "layers": optuna.distributions.IntDistribution(2, 9),
}
CONDITIONAL_DISTRIBUTIONS = {
    **DISTRIBUTIONS,
    "kind": optuna.distributions.CategoricalDistribution(KINDS),
    "skip": optuna.distributions.FloatDistribution(0.0, 1.0),
}


def cost(point):
    """Of CONDITIONAL the deep ones are best and worst."""
    return point["lr"] * point.get("layers", 0) * (point.get("skip", 1.5) - 0.5)


async def history_of(count, space=PLAIN):
    drawn = await RandomBackend().ask(request(space=space, count=count))
    outcomes = (Outcome.SUCCEEDED, Outcome.PRUNED, Outcome.OPEN)
    return tuple(
        KnownTrial(number, each, outcome, None if outcome is Outcome.OPEN else cost(each), number % 7)
        for number, each in enumerate(drawn)
        for outcome in [outcomes[number % 3]]
    )


def ask_plain(trial):
    return {"lr": trial.suggest_float("lr", 1e-4, 1.0, log=True), "layers": trial.suggest_int("layers", 2, 9)}


def ask_conditional(trial):
    kind = trial.suggest_categorical("kind", KINDS)
    lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
    if kind == "plain":
        return {"kind": kind, "lr": lr}
    # Two that are active together: only `group` has Optuna look at them jointly.
    layers = trial.suggest_int("layers", 2, 9)
    return {"kind": kind, "lr": lr, "layers": layers, "skip": trial.suggest_float("skip", 0.0, 1.0)}


def optunas_own_answer(history, seed, direction, objective):
    """A study of Optuna's with the whole history, asked by its public interface alone."""
    states = {
        Outcome.SUCCEEDED: optuna.trial.TrialState.COMPLETE,
        Outcome.PRUNED: optuna.trial.TrialState.PRUNED,
        Outcome.OPEN: optuna.trial.TrialState.RUNNING,
    }
    study = optuna.create_study(
        direction=direction,
        sampler=optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True),
    )
    for known in history:
        trial = optuna.trial.create_trial(
            state=states[known.outcome],
            params=dict(known.hyperparameters),
            distributions={name: CONDITIONAL_DISTRIBUTIONS[name] for name in known.hyperparameters},
            value=known.value if known.outcome is Outcome.SUCCEEDED else None,
            intermediate_values={} if known.value is None else {known.steps: known.value},
        )
        study.add_trial(trial)
    # From the parents down, in the space's order, as our backend asks; not as `ask(distributions)` does.
    return objective(study.ask())


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("goal", Goal)
@pytest.mark.parametrize(
    ("space", "objective"), [(PLAIN, ask_plain), (CONDITIONAL, ask_conditional)], ids=["plain", "conditional"]
)
async def test_tpe_gives_optunas_own_answers_while_the_history_is_small(goal, space, objective):
    answers = []
    for count in (0, 5, 30, MOST_TRIALS):
        history = await history_of(count, space)
        asked = request(sampler=Sampler.TPE, space=space, goal=goal, history=history, seed=3, first_index=count)
        (given,) = await OptunaBackend().ask(asked)
        assert given == optunas_own_answer(history, ask_seed(3, count), goal.value.lower(), objective)
        answers.append(given)
    assert any("layers" in each for each in answers[2:])


async def test_an_ask_looks_at_no_more_of_a_long_study_and_at_all_its_best_trials():
    known = OptunaHistory(PLAIN, Goal.MINIMIZE)
    history = await history_of(3_000)
    known.learn(history)
    chosen = known.chosen()
    running = [trial for trial in chosen if trial.state is optuna.trial.TrialState.RUNNING]
    assert len(running) == 1_000
    # A best one may be among the newest too.
    assert MOST_TRIALS - BEST_TRIALS <= len(chosen) - len(running) <= MOST_TRIALS
    best = sorted(each.value for each in history if each.outcome is Outcome.SUCCEEDED)[:BEST_TRIALS]
    assert set(best) <= {trial.value for trial in chosen}


async def test_a_trial_that_is_learned_again_replaces_what_was_known_of_it():
    history = await history_of(500)
    again = OptunaHistory(PLAIN, Goal.MAXIMIZE)
    for _ in range(2):
        again.learn(KnownTrial(each.number, each.hyperparameters, Outcome.OPEN) for each in history)
        again.learn(history)
    once = OptunaHistory(PLAIN, Goal.MAXIMIZE)
    once.learn(history)
    assert [(each.params, each.state, each.value) for each in again.chosen()] == [
        (each.params, each.state, each.value) for each in once.chosen()
    ]


async def test_tpe_finds_a_better_value_than_random_search():
    space = SearchSpace((Parameter("x", FloatDomain(-5, 5)), Parameter("y", FloatDomain(-5, 5))))

    backends = {Sampler.TPE: OptunaBackend(), Sampler.RANDOM: RandomBackend()}

    async def best(sampler, seed):
        history = ()
        for index in range(40):
            asked = request(sampler=sampler, space=space, history=history, seed=seed, first_index=index)
            (point,) = await backends[sampler].ask(asked)
            cost = (point["x"] - 1) ** 2 + (point["y"] + 2) ** 2
            history += (KnownTrial(index, point, Outcome.SUCCEEDED, cost, 1),)
        return min(trial.value for trial in history)

    wins = [await best(Sampler.TPE, seed) < await best(Sampler.RANDOM, seed) for seed in range(5)]
    assert sum(wins) >= 4


async def test_parallel_asks_spread_out():
    history = await SearchBackendConformance().history(60)
    asked = request(sampler=Sampler.TPE, history=history, count=16, first_index=60)
    suggestions = await OptunaBackend().ask(asked)
    assert len({suggestion["lr"] for suggestion in suggestions}) == 16
    assert {each.name for each in SPACE.parameters} >= set(suggestions[0])


TWO_OBJECTIVES = (Goal.MINIMIZE, Goal.MAXIMIZE)


async def history_of_two(count, with_constraint):
    """Trials of two objectives that pull apart, and a constraint on layers."""
    drawn = await RandomBackend().ask(request(space=PLAIN, count=count))
    return tuple(
        KnownTrial(
            number, each, Outcome.SUCCEEDED, each["lr"], 1, (-float(each["layers"]),),
            {"layers": 4.0 - each["layers"]} if with_constraint else {},
        )
        for number, each in enumerate(drawn)
    )  # fmt: skip


@pytest.mark.parametrize("with_constraint", [False, True])
async def test_several_objectives_and_constraints_are_seen_as_optunas_own_users_tell_them(with_constraint):
    history = await history_of_two(50, with_constraint)
    asked = request(
        sampler=Sampler.TPE, space=PLAIN, history=history, first_index=50, seed=3, further_goals=TWO_OBJECTIVES[1:]
    )
    own = optuna.create_study(
        directions=["minimize", "maximize"],
        sampler=optuna.samplers.TPESampler(seed=ask_seed(3, 50), multivariate=True, constant_liar=True),
    )
    for known in history:
        own.add_trial(
            optuna.trial.create_trial(
                params=known.hyperparameters, distributions=DISTRIBUTIONS, values=[known.value, *known.further_values],
                constraints=dict(known.violations),
            )
        )  # fmt: skip
    expected = own.ask(DISTRIBUTIONS).params
    assert (await OptunaBackend().ask(asked))[0] == expected


async def test_the_best_of_a_long_history_of_two_objectives_stay():
    history = await history_of_two(3 * MOST_TRIALS, True)
    known = OptunaHistory(PLAIN, *TWO_OBJECTIVES[:1], TWO_OBJECTIVES[1:])
    known.learn(history)
    chosen = {each.number for each in known.chosen()}
    assert len(chosen) <= MOST_TRIALS
    feasible = [(each.hyperparameters["layers"], each.value, each.number) for each in history
                if each.hyperparameters["layers"] >= 4]  # fmt: skip
    front = {
        number for layers, value, number in feasible
        if not any((a <= layers and b <= value) and (a, b) != (layers, value) for a, b, _ in feasible)
    }  # fmt: skip
    assert front and front <= chosen
