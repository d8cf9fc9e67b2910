"""Searches near the best trial so far, and here and there."""

from __future__ import annotations

from random import Random

from hydro.coordinator.search.ask_seed import ask_seed
from hydro.coordinator.search.random_backend import draw
from hydro.coordinator.search.search_backend import KnownTrial, Outcome, SearchRequest
from hydro.coordinator.search.study_search import StudySearch
from hydro.coordinator.search_space import SearchSpace
from hydro.coordinator.study import Goal
from hydro.coordinator.trial import Value

SHARE_CHANGED = 0.3


class NeighbourBackend:
    """`StudySearch` draws again what a trial has had; the method says what to draw."""

    async def ask(self, request: SearchRequest) -> list[dict[str, Value]]:
        """Gives `request.count` suggestions."""
        search = StudySearch(request.space, _Neighbours(request.space, request.goal))
        search.learn(request.history)
        return search.suggest(request)


class _Neighbours:
    def __init__(self, space: SearchSpace, goal: Goal) -> None:
        self._space = space
        self._sign = 1 if goal is Goal.MINIMIZE else -1
        self._ended: dict[int, KnownTrial] = {}

    def learn(self, trials) -> None:
        for known in trials:
            if known.outcome is Outcome.SUCCEEDED:
                self._ended[known.number] = known

    def forget(self, number: int) -> None:
        self._ended.pop(number, None)

    def suggest(self, number: int, seed: int) -> dict[str, Value]:
        """A random point, with most values of the best trial where the space allows them."""
        random = Random(ask_seed(seed, number))
        drawn = draw(self._space, random)
        if not self._ended:
            return drawn
        best = min(self._ended.values(), key=self._rank)
        kept = {
            each.name: best.hyperparameters[each.name]
            for each in self._space.parameters
            if each.domain.contains(best.hyperparameters.get(each.name, "")) and random.random() > SHARE_CHANGED
        }
        return draw(self._space.hold(kept), random)

    def _rank(self, known: KnownTrial) -> tuple[float, float, int]:
        """By what it violates of the constraints, then by its value."""
        beyond = sum(max(0.0, each) for each in known.violations.values())
        return beyond, self._sign * (known.value or 0.0), known.number
