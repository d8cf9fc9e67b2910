"""Optuna's samplers that go on from generation to generation: CMA-ES and NSGA-II.

Optuna keeps a trial's generation, and CMA-ES its whole state, in the trials' attributes. Here they follow from the
history alone: the trials that were trained to the end, in the order of their numbers, make the generations. So an ask
is a function of the history, on any machine and after any crash. What the generations before the last one come to is
kept, for as long as they stay the same trials.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import CmaEsSampler, NSGAIISampler
from optuna.trial import FrozenTrial, TrialState

from hydro.coordinator.search.optuna_codec import Codec
from hydro.coordinator.search.optuna_history import OptunaHistory
from hydro.coordinator.search.search_backend import KnownTrial, SearchRequest
from hydro.coordinator.search.unit_cube import fill, value_at
from hydro.coordinator.search.whole_history import GeneHistory, WholeHistory
from hydro.coordinator.study import Sampler
from hydro.coordinator.trial import Value

_GENERATION = "cma:generation"
_OPTIMIZER = "cma:optimizer"
MOST_POPULATION = 50
"""Optuna's own for NSGA-II; smaller where a study would end in its first generations."""
LEAST_POPULATION = 8
GENERATIONS = 8


def method_of(request: SearchRequest) -> CmaEsMethod | Nsga2Method:
    """The method of a request's sampler."""
    goals = (request.goal, request.further_goals)
    if request.sampler is Sampler.CMA_ES:
        return CmaEsMethod(WholeHistory(request.space, *goals))
    return Nsga2Method(GeneHistory(request.space, *goals), request.max_trials)


class _Generations:
    """Trials by generation, and the state that each generation led to."""

    def __init__(self, history: OptunaHistory, population: int, *, skip: int = 0) -> None:
        self.history = history
        self.population = population
        self._skip = skip
        self._states: list[tuple[tuple[FrozenTrial, ...], Any]] = []

    def learn(self, trials: Iterable[KnownTrial]) -> None:
        """Notes what is known of trials."""
        self.history.learn(trials)

    def forget(self, number: int) -> None:
        """Forgets a trial."""
        self.history.forget(number)

    def complete(self) -> list[FrozenTrial]:
        """The trials that were trained to the end, in the order of their numbers."""
        return [each for each in self.history.ended() if each.state is TrialState.COMPLETE]

    def last(self, first: Any) -> tuple[Any, list[FrozenTrial]]:
        """The state after the last whole generation, from the state `first` on, and the trials after it."""
        trials = self.complete()[self._skip :]
        state = first
        whole = len(trials) // self.population
        for number in range(whole):
            generation = tuple(trials[number * self.population : (number + 1) * self.population])
            if number < len(self._states) and self._is(self._states[number][0], generation):
                state = self._states[number][1]
                continue
            del self._states[number:]
            state = self.step(number, state, generation)
            self._states.append((generation, state))
        del self._states[whole:]
        return state, trials[whole * self.population :]

    @abstractmethod
    def step(self, number: int, state: Any, generation: Sequence[FrozenTrial]) -> Any:
        """The state after a generation."""

    @staticmethod
    def _is(one: Sequence[FrozenTrial], other: Sequence[FrozenTrial]) -> bool:
        # A trial that is learned again is another object.
        return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


class CmaEsMethod(_Generations):
    """CMA-ES over the numbers that are always active; the rest is drawn at random, as Optuna does it."""

    def __init__(self, history: WholeHistory) -> None:
        self._searched = {
            each.name: codec
            for each in history.space.parameters
            if not each.conditions
            and (codec := history.codecs.get(each.name)) is not None
            and not isinstance(codec.distribution, CategoricalDistribution)
            and not codec.distribution.single()
        }
        # Hansen's default, which is Optuna's; its first trial belongs to no generation.
        population = 4 + math.floor(3 * math.log(max(1, len(self._searched))))
        super().__init__(history, population, skip=1)

    def step(self, number: int, state: dict[str, str], generation: Sequence[FrozenTrial]) -> dict[str, str]:
        """The optimizer's attributes once it was told a generation."""
        asked = self._ask(number, state, generation, seed=0)
        _ = asked.relative_params  # now, and no sooner, Optuna tells the optimizer
        attributes = asked.study.trials[-1].system_attrs
        return {name: value for name, value in attributes.items() if name.startswith(_OPTIMIZER)}

    def suggest(self, number: int, seed: int) -> dict[str, Value]:
        """Hyperparameters for the trial of a number."""
        values: dict[str, Value] = {}
        if self._searched and self.complete():
            state, rest = self.last({})
            trial = self._ask(len(self._states), state, rest, seed)
            values = {name: codec.draw(trial, name) for name, codec in self._searched.items()}
        drawn = Random(seed)
        return fill(
            self.history.space,
            lambda name, domain: values[name] if name in values else value_at(domain, drawn.random()),
        )

    def _ask(self, generation: int, state: dict[str, str], trials: Sequence[FrozenTrial], seed: int) -> optuna.Trial:
        study = self.history.empty_study()
        # Optuna takes the optimizer from any trial that was trained to the end.
        study.add_trial(self._with(self.complete()[0], state))
        for each in trials:
            study.add_trial(self._with(each, {_GENERATION: generation}))
        study.sampler = CmaEsSampler(seed=seed, popsize=self.population, warn_independent_sampling=False)
        return study.ask()

    def _with(self, trial: FrozenTrial, attributes: dict[str, Any]) -> FrozenTrial:
        return optuna.trial.create_trial(
            value=trial.value,
            params={name: trial.params[name] for name in self._searched},
            distributions={name: trial.distributions[name] for name in self._searched},
            system_attrs=attributes,
        )


class Nsga2Method(_Generations):
    """NSGA-II over the whole space: parameters that are not active go on as silent genes."""

    def __init__(self, history: GeneHistory, trials: int) -> None:
        super().__init__(history, population_of(trials))
        self._whole = history

    def step(self, number: int, state: list[FrozenTrial], generation: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The parents that a generation leaves: the best of it and of its own parents."""
        return _Nsga2(self._whole.codecs, self.population, state, list(generation), 0).select_parent(
            self.history.empty_study(), 1
        )

    def suggest(self, number: int, seed: int) -> dict[str, Value]:
        """Hyperparameters for the trial of a number."""
        parents, _ = self.last([])
        study = self.history.empty_study()
        study.sampler = _Nsga2(self._whole.codecs, self.population, parents, [], seed)
        trial = study.ask()
        return self._whole.active({name: each.draw(trial, name) for name, each in self._whole.codecs.items()})


class _Nsga2(NSGAIISampler):
    """Optuna's, told its parents and its last generation instead of reading them from the trials' attributes."""

    def __init__(
        self,
        codecs: Mapping[str, Codec],
        population: int,
        parents: list[FrozenTrial],
        generation: list[FrozenTrial],
        seed: int,
    ) -> None:
        super().__init__(population_size=population, seed=seed)
        self._codecs = codecs
        self._parents = parents
        self._last = generation

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter."""
        return {name: each.distribution for name, each in self._codecs.items() if not each.distribution.single()}

    def get_trial_generation(self, study: optuna.Study, trial: FrozenTrial) -> int:
        """Whether there are parents is all that matters of it."""
        return 1 if self._parents else 0

    def get_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """The trials of the last generation."""
        return self._last

    def get_parent_population(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        """The parents of the next one."""
        return self._parents


def population_of(trials: int) -> int:
    """How many trials make a generation of NSGA-II in a study of so many."""
    return min(MOST_POPULATION, max(LEAST_POPULATION, trials // GENERATIONS))
