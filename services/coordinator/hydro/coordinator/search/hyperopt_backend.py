"""Search by Hyperopt: its own TPE, which takes each parameter by itself, and annealing.

Both are functions of a list of trials and a seed, which is what the port asks of a backend. Conditions: the space is
given flat; a trial has values for its active parameters alone, and Hyperopt learns of each parameter from the trials
that have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from hyperopt import JOB_STATE_DONE, JOB_STATE_RUNNING, STATUS_OK, Trials, anneal, hp, tpe
from hyperopt.base import Domain as HyperoptDomain

from hydro.coordinator.search.search_backend import KnownTrial, Outcome, SearchRequest
from hydro.coordinator.search.study_search import StudySearch
from hydro.coordinator.search.unit_cube import count_of, fill, value_number
from hydro.coordinator.search.whole_history import suitable
from hydro.coordinator.search_space import Domain, FloatDomain, IntDomain, SearchSpace, identity
from hydro.coordinator.study import Goal
from hydro.coordinator.trial import Value

Algorithm = Callable[..., list[dict[str, Any]]]


class HyperoptBackend:
    """One of Hyperopt's algorithms, asked anew from the history each time."""

    def __init__(self, algorithm: Algorithm) -> None:
        self._algorithm = algorithm

    async def ask(self, request: SearchRequest) -> list[dict[str, Value]]:
        """Gives `request.count` suggestions; with several objectives, by the first one."""
        search = StudySearch(request.space, HyperoptMethod(request.space, request.goal, self._algorithm))
        search.learn(request.history)
        return search.suggest(request)


def tpe_backend() -> HyperoptBackend:
    """The entry point `hyperopt`."""
    return HyperoptBackend(partial(tpe.suggest, verbose=False))


def annealing_backend() -> HyperoptBackend:
    """The entry point `hyperopt-anneal`."""
    return HyperoptBackend(anneal.suggest)


class HyperoptMethod:
    """The trials of a study as Hyperopt's documents."""

    def __init__(self, space: SearchSpace, goal: Goal, algorithm: Algorithm) -> None:
        self._space = space
        self._sign = 1.0 if goal is Goal.MINIMIZE else -1.0
        self._algorithm = algorithm
        self._searched = {each.name: each.domain for each in space.parameters if count_of(each.domain) != 1}
        expression = {name: _expression(name, domain) for name, domain in self._searched.items()}
        self._domain = HyperoptDomain(lambda _: None, expression)
        self._documents: dict[int, dict[str, Any]] = {}

    def learn(self, trials: Iterable[KnownTrial]) -> None:
        """Notes the trials that were trained to the end, and those that are open."""
        for known in trials:
            self.forget(known.number)
            values = suitable(self._space, known.hyperparameters)
            if values is None or known.outcome not in (Outcome.OPEN, Outcome.SUCCEEDED):
                continue
            self._documents[known.number] = self._document(known, values)

    def forget(self, number: int) -> None:
        """Forgets a trial."""
        self._documents.pop(number, None)

    def suggest(self, number: int, seed: int) -> dict[str, Value]:
        """Hyperparameters for the trial of a number."""
        trials = Trials()
        trials.insert_trial_docs([self._documents[each] for each in sorted(self._documents)])
        trials.refresh()
        (document,) = self._algorithm([number], self._domain, trials, seed)
        drawn = {name: values[0] for name, values in document["misc"]["vals"].items()}

        def value(name: str, domain: Domain) -> Value:
            return _decoded(domain, drawn[name]) if name in drawn else value_number(domain, 0)

        return fill(self._space, value)

    def _document(self, known: KnownTrial, values: dict[str, Value]) -> dict[str, Any]:
        number = known.number
        encoded = {name: _encoded(domain, values[name]) for name, domain in self._searched.items() if name in values}
        is_open = known.outcome is Outcome.OPEN
        return {
            "tid": number,
            "spec": None,
            "state": JOB_STATE_RUNNING if is_open else JOB_STATE_DONE,
            "result": {"status": STATUS_OK} if is_open else {"status": STATUS_OK, "loss": self._loss(known)},
            "misc": {
                "tid": number,
                "cmd": ("domain_attachment", "FMinIter_Domain"),
                "workdir": None,
                "idxs": {name: [number] if name in encoded else [] for name in self._searched},
                "vals": {name: [encoded[name]] if name in encoded else [] for name in self._searched},
            },
            "exp_key": None,
            "owner": None,
            "version": 0,
            "book_time": None,
            "refresh_time": None,
        }

    def _loss(self, known: KnownTrial) -> float:
        return self._sign * (math.inf if known.value is None else known.value)


def _expression(name: str, domain: Domain) -> Any:
    match domain:
        case FloatDomain(low, high, True):
            return hp.loguniform(name, math.log(low), math.log(high))
        case IntDomain(low, high, True):
            return hp.loguniform(name, math.log(low - 0.5), math.log(high + 0.5))
        case FloatDomain(low, high, _, step) if not step:
            return hp.uniform(name, low, high)
        case FloatDomain() | IntDomain():
            return hp.uniform(name, -0.5, (count_of(domain) or 1) - 0.5)
        case _:
            return hp.choice(name, range(count_of(domain) or 1))


def _encoded(domain: Domain, value: Value) -> float | int:
    match domain:
        case FloatDomain(_, _, log, step) if log or not step:
            return float(value)
        case IntDomain(log=True):
            return float(value)
        case FloatDomain() | IntDomain():
            return round((float(value) - domain.min) / (domain.step or 1))
        case _:
            count = count_of(domain) or 1
            return next(at for at in range(count) if identity(value_number(domain, at)) == identity(value))


def _decoded(domain: Domain, drawn: float) -> Value:
    match domain:
        case FloatDomain(low, high, log, step) if log or not step:
            return min(max(float(drawn), low), high)
        case IntDomain(low, high, True):
            return min(max(round(float(drawn)), low), high)
        case _:
            return value_number(domain, min(max(round(float(drawn)), 0), (count_of(domain) or 1) - 1))
