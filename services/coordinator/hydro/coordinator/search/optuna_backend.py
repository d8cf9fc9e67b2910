"""The searches that come with the coordinator: its own simple ones, and Optuna's, in memory."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Protocol

from hydro.coordinator.search.random_backend import draw
from hydro.coordinator.search.search_backend import KnownTrial, SearchRequest
from hydro.coordinator.search.study_search import GridSearch, Method, StudySearch
from hydro.coordinator.search_space import SearchSpace
from hydro.coordinator.study import Sampler
from hydro.coordinator.trial import Value


class OptunaBackend:
    """Every sampler but the external ones. A request blocks its process while it computes."""

    async def ask(self, request: SearchRequest) -> list[dict[str, Value]]:
        """Gives `request.count` suggestions."""
        search = open_search(request)
        search.learn(request.history)
        return search.suggest(request)


class Search(Protocol):
    """A study's search: learns its trials, and suggests the next ones."""

    def learn(self, trials: Iterable[KnownTrial]) -> None:
        """Notes what is known of trials, in any order, which replaces what was known of them."""

    def suggest(self, request: SearchRequest) -> list[dict[str, Value]]:
        """Gives the suggestions; the request's own history is not looked at."""
        ...


def open_search(request: SearchRequest) -> Search:
    """A search of the request's study that has learned nothing yet."""
    if request.sampler is Sampler.GRID:
        return GridSearch(request.space, request.seed)
    return StudySearch(request.space, _method(request))


def _method(request: SearchRequest) -> Method:
    # Each with its own libraries, which take up to seconds to import: a process has those that its studies need.
    match request.sampler:
        case Sampler.RANDOM:
            return RandomMethod(request.space)
        case Sampler.QUASI_RANDOM:
            from hydro.coordinator.search.sobol_method import SobolMethod

            return SobolMethod(request.space, request.seed)
        case Sampler.TPE | Sampler.GP:
            from hydro.coordinator.search import optuna_method

            return optuna_method.method_of(request)
        case Sampler.CMA_ES | Sampler.NSGA2:
            from hydro.coordinator.search import optuna_generations

            return optuna_generations.method_of(request)
        case _:
            raise ValueError(f"{request.sampler} is no sampler of this backend")


class RandomMethod:
    """Random draws, as `RandomBackend` gives them."""

    def __init__(self, space: SearchSpace) -> None:
        self._space = space

    def learn(self, trials: Iterable[KnownTrial]) -> None:
        """Nothing."""

    def forget(self, number: int) -> None:
        """Nothing."""

    def suggest(self, number: int, seed: int) -> dict[str, Value]:
        """Hyperparameters for the trial of a number."""
        return draw(self._space, Random(seed))
