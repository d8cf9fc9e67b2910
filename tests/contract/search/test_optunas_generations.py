"""CMA-ES and NSGA-II go through the generations of Optuna's own loop, though they follow from the history alone."""

import copy

import optuna
import pytest
from optuna.samplers import CmaEsSampler, NSGAIISampler

from hydro.coordinator.search.ask_seed import ask_seed
from hydro.coordinator.search.conformance import request
from hydro.coordinator.search.optuna_backend import OptunaBackend
from hydro.coordinator.search.optuna_generations import method_of
from hydro.coordinator.search.search_backend import KnownTrial, Outcome
from hydro.coordinator.search_space import FloatDomain, IntDomain, Parameter, SearchSpace
from hydro.coordinator.study import Goal, Sampler

SPACE = SearchSpace((Parameter("a", FloatDomain(1e-3, 1.0, log=True)), Parameter("b", IntDomain(2, 9))))
DISTRIBUTIONS = {
    "a": optuna.distributions.FloatDistribution(1e-3, 1.0, log=True),
    "b": optuna.distributions.IntDistribution(2, 9),
}
SEED = 11


class Renumbered(CmaEsSampler):
    """Optuna adds a trial's number to the seed; here trials are numbered within their generation."""

    def sample_relative(self, study, trial, search_space):
        trial = copy.copy(trial)
        trial.number = 1 + (trial.number - 1) % self._popsize
        return super().sample_relative(study, trial, search_space)


async def suggested(history, number, sampler):
    asked = request(space=SPACE, history=tuple(history), first_index=number, count=1, seed=SEED, sampler=sampler)
    (suggestion,) = await OptunaBackend().ask(asked)
    return suggestion


async def test_cma_es_suggests_what_optunas_own_loop_suggests():
    population, study, history = 6, optuna.create_study(), []
    for number in range(21):
        study.sampler = Renumbered(seed=ask_seed(SEED, number), popsize=population, warn_independent_sampling=False)
        if number == 0:
            study.enqueue_trial({"a": 0.1, "b": 4})
        trial = study.ask(DISTRIBUTIONS)
        # Where Optuna makes its optimizer and tells it a generation in one ask, it has drawn a number more.
        if number not in (0, population + 1):
            ours = await suggested(history, number, Sampler.CMA_ES)
            assert trial.params == pytest.approx(ours, rel=1e-12), number
        value = (trial.params["a"] - 0.3) ** 2 + abs(trial.params["b"] - 5)
        study.tell(trial, value)
        history.append(KnownTrial(number, dict(trial.params), Outcome.SUCCEEDED, value, 1))


def test_nsga2_has_the_parents_of_optunas_own_generations():
    population = 8
    own = NSGAIISampler(population_size=population, seed=SEED)
    study = optuna.create_study(directions=["minimize", "maximize"], sampler=own)
    goals = {"goal": Goal.MINIMIZE, "further_goals": (Goal.MAXIMIZE,)}
    method = method_of(request(space=SPACE, sampler=Sampler.NSGA2, max_trials=8 * population, **goals))
    for number in range(5 * population):
        trial = study.ask(DISTRIBUTIONS)
        generation, place = divmod(number, population)
        if place == 0:
            theirs = own.get_parent_population(study, generation)
            # By value: which of two trials of the same point stays depends on their order.
            ours, _ = method.last([])
            assert sorted(each.values for each in ours) == sorted(each.values for each in theirs), generation
        values = (trial.params["a"] * trial.params["b"], trial.params["a"] - 0.1 * trial.params["b"])
        study.tell(trial, values)
        method.learn([KnownTrial(number, dict(trial.params), Outcome.SUCCEEDED, values[0], 1, values[1:])])
