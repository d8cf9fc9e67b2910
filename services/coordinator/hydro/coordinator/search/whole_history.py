"""A study's trials with a value for every parameter, active or not, for methods that know no conditions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from random import Random

from optuna.trial import FrozenTrial, TrialState

from hydro.coordinator.search.ask_seed import ask_seed
from hydro.coordinator.search.optuna_history import OptunaHistory
from hydro.coordinator.search.search_backend import KnownTrial, Outcome
from hydro.coordinator.search.unit_cube import fill, value_at
from hydro.coordinator.search_space import ConstantDomain, Domain, SearchSpace
from hydro.coordinator.trial import Hyperparameters, Value

MOST_TRIALS = 150
"""Ended trials that an ask looks at: the cost of a Gaussian process grows with their cube."""
BEST_TRIALS = 50


class WholeHistory(OptunaHistory):
    """Trials that do not fit the space teach nothing here; the inactive parameters of the others get the middle value.

    So two trials that both lack a parameter are alike in it. A value in the middle is what tells a kernel least.
    """

    def learn(self, trials: Iterable[KnownTrial]) -> None:
        """Notes what is known of trials, in any order."""
        super().learn(self._whole(each) for each in trials)

    def chosen(self) -> list[FrozenTrial]:
        """The best trials and the newest ones, in the order of their numbers, and those that are open."""
        ended = [number for number in self._ended if self._trials[number].state is TrialState.COMPLETE]
        if len(ended) > MOST_TRIALS:
            best = [int(rank[-1]) for rank in self._ranks if self._trials[int(rank[-1])].state is TrialState.COMPLETE]
            ended = sorted({*best[:BEST_TRIALS], *ended[-(MOST_TRIALS - BEST_TRIALS) :]})
        return [self._trials[number] for number in sorted([*ended, *self._open])]

    def active(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """Of a value for every searched parameter those that are active, and the constants."""
        return fill(self.space, lambda name, domain: _value(name, domain, values))

    def filling(self, number: int, domain: Domain, name: str) -> Value:
        """The value of a parameter that is not active in a trial."""
        return value_at(domain, 0.5)

    def _whole(self, known: KnownTrial) -> KnownTrial:
        values = suitable(self.space, known.hyperparameters)
        if values is None:
            return replace(known, outcome=Outcome.FAILED)
        missing = {
            each.name: self.filling(known.number, each.domain, each.name)
            for each in self.space.parameters
            if each.name not in values
        }
        return replace(known, hyperparameters={**values, **missing})


class GeneHistory(WholeHistory):
    """Inactive parameters carry random values, as silent genes do: crossing may wake them."""

    def filling(self, number: int, domain: Domain, name: str) -> Value:
        """The value of a parameter that is not active in a trial: always the same one in the same trial."""
        return value_at(domain, Random(f"{ask_seed(number, 0)}/{name}").random())


def suitable(space: SearchSpace, hyperparameters: Hyperparameters) -> dict[str, Value] | None:
    """The values of a trial that the space has parameters for; None: one is missing, or outside its domain."""
    values: dict[str, Value] = {}
    for parameter in space.ordered():
        if not parameter.is_active(values):
            continue
        value = hyperparameters.get(parameter.name)
        if value is None or not parameter.domain.contains(value):
            return None
        values[parameter.name] = value
    return values


def _value(name: str, domain: Domain, values: Mapping[str, Value]) -> Value:
    return domain.value if isinstance(domain, ConstantDomain) else values[name]
