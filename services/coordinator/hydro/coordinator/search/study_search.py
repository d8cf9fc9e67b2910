"""The search of one study, as a search process holds it: it learns trials and suggests the next ones.

What a sampler gives that a trial has had already is drawn again; in a finite space a point that none has had is found
as long as there is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Protocol

from hydro.coordinator.search.ask_seed import ask_seed
from hydro.coordinator.search.grid import Grid, grid_of
from hydro.coordinator.search.permutation import Permutation
from hydro.coordinator.search.random_backend import draw
from hydro.coordinator.search.search_backend import KnownTrial, Outcome, SearchRequest
from hydro.coordinator.search.visited import Visited
from hydro.coordinator.search_space import SearchSpace
from hydro.coordinator.trial import Value

ATTEMPTS = 4
"""Of a sampler at one suggestion."""
DRAWS = 32
"""At random, where the space has no numbered points."""


class Method(Protocol):
    """A way to search. Deterministic: what it gives follows from what it has learned, the seed and the number."""

    def learn(self, trials: Iterable[KnownTrial]) -> None:
        """Notes what is known of trials, which replaces what was known of them."""

    def forget(self, number: int) -> None:
        """Forgets a trial that was learned."""

    def suggest(self, number: int, seed: int) -> dict[str, Value]:
        """Hyperparameters for the trial of a number: the active ones, each in its domain."""
        ...


class StudySearch:
    """One study's method, and the points that its trials have had."""

    def __init__(self, space: SearchSpace, method: Method) -> None:
        self._space = space
        self._method = method
        self._visited = Visited()
        self._grid = grid_of(space)

    def learn(self, trials: Iterable[KnownTrial]) -> None:
        """Notes what is known of trials, in any order."""
        known = list(trials)
        self._visited.learn(known)
        self._method.learn(known)

    def suggest(self, request: SearchRequest) -> list[dict[str, Value]]:
        """Gives `request.count` suggestions; the request's own history is not looked at."""
        suggestions = []
        numbers = range(request.first_index, request.first_index + request.count)
        for number in numbers:
            suggestion = self._unvisited(request.seed, number)
            suggestions.append(suggestion)
            # Those of one request see the ones before them as open trials.
            self.learn([KnownTrial(number, suggestion, Outcome.OPEN)])
        for number in numbers:
            self._visited.forget(number)
            self._method.forget(number)
        return suggestions

    def _unvisited(self, seed: int, number: int) -> dict[str, Value]:
        suggestion: dict[str, Value] = {}
        for attempt in range(ATTEMPTS):
            suggestion = self._method.suggest(number, ask_seed(seed, number, attempt))
            if suggestion not in self._visited:
                return suggestion
        if self._grid is not None:
            return _unvisited_point(self._grid, self._visited, ask_seed(seed, number)) or suggestion
        for attempt in range(DRAWS):
            drawn = draw(self._space, Random(ask_seed(seed, number, ATTEMPTS + attempt)))
            if drawn not in self._visited:
                return drawn
        return suggestion


def _unvisited_point(grid: Grid, visited: Visited, seed: int) -> dict[str, Value] | None:
    order = Permutation(grid.size, seed)
    for place in range(min(grid.size, len(visited) + 1)):
        point = grid.point(order[place])
        if point not in visited:
            return point
    return None


class GridSearch:
    """Every point once, in an order that the study's seed shuffles; fewer than asked for when none is left."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        grid = grid_of(space)
        if grid is None:
            raise ValueError("the search space has no finite grid")
        self._grid = grid
        self._order = Permutation(grid.size, seed)
        self._visited = Visited()
        # Every point of a place before this one has had its trial.
        self._first = 0

    def learn(self, trials: Iterable[KnownTrial]) -> None:
        """Notes the points of the study's own trials: those of others are tried here too."""
        self._visited.learn(each for each in trials if each.number >= 0)

    def suggest(self, request: SearchRequest) -> list[dict[str, Value]]:
        """Gives the next points that no trial has had, `request.count` at the most."""
        suggestions: list[dict[str, Value]] = []
        place = self._first
        while place < self._grid.size and len(suggestions) < request.count:
            point = self._grid.point(self._order[place])
            if point not in self._visited:
                suggestions.append(point)
            elif not suggestions:
                self._first = place + 1
            place += 1
        return suggestions
