"""Optuna's samplers that look at one study of trials: TPE and Gaussian processes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable

import optuna
from optuna.samplers import BaseSampler, GPSampler, TPESampler
from optuna.trial import TrialState

from hydro.coordinator.search.optuna_history import OptunaHistory
from hydro.coordinator.search.search_backend import KnownTrial, Outcome, SearchRequest
from hydro.coordinator.search.unit_cube import fill
from hydro.coordinator.search.whole_history import WholeHistory
from hydro.coordinator.search_space import ConstantDomain, Domain
from hydro.coordinator.study import Sampler
from hydro.coordinator.trial import Value


def tpe_sampler(seed: int) -> BaseSampler:
    """Optuna's TPE: jointly, by groups of parameters that are active together, away from open trials."""
    with warnings.catch_warnings():  # `group` has been called experimental since 2021
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def gp_sampler(seed: int) -> BaseSampler:
    """Optuna's Gaussian process with the logarithm of expected improvement, away from open trials."""
    return GPSampler(seed=seed, warn_independent_sampling=False)


def method_of(request: SearchRequest) -> TpeMethod | GpMethod:
    """The method of a request's sampler."""
    goals = (request.goal, request.further_goals)
    if request.sampler is Sampler.GP:
        return GpMethod(WholeHistory(request.space, *goals))
    return TpeMethod(OptunaHistory(request.space, *goals))


class TpeMethod:
    """TPE, asked from the parents down: only active parameters are in its trials."""

    def __init__(self, history: OptunaHistory) -> None:
        self._asked = AskedStudy(history, tpe_sampler)

    def learn(self, trials: Iterable[KnownTrial]) -> None:
        """Notes what is known of trials."""
        self._asked.learn(trials)

    def forget(self, number: int) -> None:
        """Forgets a trial."""
        self._asked.forget(number)

    def suggest(self, number: int, seed: int) -> dict[str, Value]:
        """Hyperparameters for the trial of a number."""
        codecs = self._asked.history.codecs
        with self._asked.trial(seed) as trial:

            def draw(name: str, domain: Domain) -> Value:
                return domain.value if isinstance(domain, ConstantDomain) else codecs[name].draw(trial, name)

            return fill(self._asked.history.space, draw)


class GpMethod:
    """A Gaussian process over the whole space: a parameter that is not active stands in the middle of its domain."""

    def __init__(self, history: WholeHistory) -> None:
        self._asked = AskedStudy(history, gp_sampler)
        self._history = history

    def learn(self, trials: Iterable[KnownTrial]) -> None:
        """Notes what is known of trials."""
        self._asked.learn(trials)

    def forget(self, number: int) -> None:
        """Forgets a trial."""
        self._asked.forget(number)

    def suggest(self, number: int, seed: int) -> dict[str, Value]:
        """Hyperparameters for the trial of a number."""
        with self._asked.trial(seed) as trial:
            return self._history.active({name: each.draw(trial, name) for name, each in self._history.codecs.items()})


class AskedStudy:
    """A study of Optuna's with what a history chooses, kept while only open trials are added to it."""

    def __init__(self, history: OptunaHistory, sampler_of: Callable[[int], BaseSampler]) -> None:
        self.history = history
        self._sampler_of = sampler_of
        self._study: optuna.Study | None = None

    def learn(self, trials: Iterable[KnownTrial]) -> None:
        """Notes what is known of trials."""
        known = list(trials)
        self.history.learn(known)
        if self._study is None or any(each.outcome is not Outcome.OPEN for each in known):
            self._study = None
            return
        for each in known:
            self.history.add_to(self._study, each.number)

    def forget(self, number: int) -> None:
        """Forgets a trial."""
        self.history.forget(number)
        self._study = None

    def trial(self, seed: int) -> _Asked:
        """A trial that a sampler of the seed fills."""
        if self._study is None:
            self._study = self.history.study()
        self._study.sampler = self._sampler_of(seed)
        return _Asked(self._study)


class _Asked:
    """A trial of Optuna's, which afterwards is as good as not there: what became of it is learned by its number."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._trial = study.ask()

    def __enter__(self) -> optuna.Trial:
        return self._trial

    def __exit__(self, *_: object) -> None:
        self._study.tell(self._trial, state=TrialState.FAIL)
