"""The search backends of other distributions, found by the entry-point group `hydro.search_backends`.

An entry point names a class without arguments that is a `SearchBackend`, or anything that gives one when it is called.
It is loaded in the search process alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points

from hydro.coordinator.search.optuna_backend import Search
from hydro.coordinator.search.optuna_backend import open_search as open_own_search
from hydro.coordinator.search.search_backend import GROUP, KnownTrial, SearchBackend, SearchRequest
from hydro.coordinator.study import Sampler
from hydro.coordinator.trial import Value


def open_search(request: SearchRequest) -> Search:
    """A search of the request's study, by whichever backend has its sampler, that has learned nothing yet."""
    if request.sampler is not Sampler.EXTERNAL:
        return open_own_search(request)
    return ExternalSearch(load_backend(request.external_sampler))


def load_backend(name: str) -> SearchBackend:
    """The backend of a name.

    Raises:
        LookupError: no distribution here has it.
    """
    found = {each.name: each for each in entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise LookupError(f"there is no search backend {name!r} where the search runs; there are: {known}")
    return _made(found[name])


def _made(point: EntryPoint) -> SearchBackend:
    backend: SearchBackend = point.load()()
    return backend


class ExternalSearch:
    """A study's trials, given whole to a backend at each request."""

    def __init__(self, backend: SearchBackend) -> None:
        self._backend = backend
        self._known: dict[int, KnownTrial] = {}

    def learn(self, trials: Iterable[KnownTrial]) -> None:
        """Notes what is known of trials."""
        self._known.update((each.number, each) for each in trials)

    def suggest(self, request: SearchRequest) -> list[dict[str, Value]]:
        """Gives the backend's suggestions."""
        history = tuple(self._known[number] for number in sorted(self._known))
        return asyncio.run(self._backend.ask(replace(request, history=history)))
