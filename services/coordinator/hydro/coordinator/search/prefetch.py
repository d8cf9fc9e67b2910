"""Suggestions that are searched ahead, so that no ask waits for the search.

A study has a line of suggestions for its next trials, each for one number. Trials that end make what was searched
before them stale: the line is searched anew from its head, as often as the search can, and what was not taken meanwhile
is replaced. An ask takes the head as it is, unless it has missed too many results; then it waits for the next search.

A suggestion is what the search backend gives for (seed, number) and the history it saw; which history that was is kept
with it, so that a replay gives the same. What is lost with the process is searched again.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import structlog
from prometheus_client import Counter, Histogram

from hydro.coordinator.search.search_backend import KnownTrial, Outcome, SearchBackend, SearchRequest
from hydro.coordinator.study import StudySpec
from hydro.coordinator.trial import Hyperparameters, SearchedHistory
from hydro.kit.errors import HydroError, Internal

_log = structlog.get_logger()

_STALENESS = Histogram(
    "hydro_coordinator_suggestion_staleness_results",
    "Results that came between a suggestion's search and its trial's start",
    buckets=(0, 1, 2, 4, 8, 16, 32, 64, 128),
)
_WAITS = Counter("hydro_coordinator_suggestion_waits", "Asks that waited for the search")

SHARE_OF_STUDY = 16
"""A line is at most a sixteenth of the study, so that most of a small study is searched after most of its results."""


def line_length(spec: StudySpec) -> int:
    """How many suggestions of a study are searched ahead: what may be asked for at once, and few against its trials."""
    return max(1, min(spec.parallelism, spec.max_trials // SHARE_OF_STUDY))


def most_stale(spec: StudySpec) -> int:
    """How many results a suggestion may have missed: what comes when every open trial ends, and its successor too."""
    return 2 * spec.parallelism


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Hyperparameters of a trial, and the history that they follow from; None: they follow from no other trial."""

    hyperparameters: Hyperparameters
    searched: SearchedHistory | None = None


@dataclass(frozen=True, slots=True)
class _Found:
    """What a search gave for a number: the search began with `searched_from` and knew so many results."""

    hyperparameters: Hyperparameters
    results: int
    searched_from: int


class Prefetch:
    """The line of one study. Its methods but `take` return at once; everything runs in one event loop.

    Args:
        search: Gives suggestions.
        request: The study's: sampler, space, goal, seed, and its name; the rest is not looked at.
        length: How many suggestions are searched ahead.
        most_stale: How many results a suggestion that is taken may have missed.
        most_trials: How many trials the study has in the end.
        noted: The trials whose end some trial's history says already.
    """

    def __init__(
        self,
        search: SearchBackend,
        request: SearchRequest,
        *,
        length: int,
        most_stale: int,
        most_trials: int,
        noted: Iterable[int] = (),
    ) -> None:
        self._search = search
        self._request = request
        self._length = length
        self._most_stale = most_stale
        self._most_trials = most_trials
        self._known: dict[int, KnownTrial] = {}
        # The study's trials in the order in which their ends were learned; the first ones are noted with some trial.
        self._ended = dict.fromkeys(noted)
        self._results: list[int] = list(self._ended)
        self._noted = len(self._results)
        self._next = 0
        self._wanted = 0
        self._line: dict[int, _Found] = {}
        self._changed = asyncio.Event()
        self._filled = asyncio.Event()
        self._urgent = asyncio.Event()
        self._failure: HydroError | None = None
        self._task: asyncio.Task[None] | None = None

    def learn(self, trials: Iterable[KnownTrial], next_index: int) -> None:
        """Takes in trials that are new or have changed, and the number of the next one."""
        for known in trials:
            self._known[known.number] = known
            is_own = known.number >= 0
            if is_own and known.outcome is not Outcome.OPEN and known.number not in self._ended:
                self._ended[known.number] = None
                self._results.append(known.number)
        # A take may be ahead of what its caller has noted.
        self._next = max(self._next, next_index)
        self._wake()

    async def take(self, index: int, count: int) -> Sequence[Suggestion]:
        """Gives the suggestions for the trials of `count` numbers from `index` on: trials that are open from now on.

        One ask at a time: who takes holds the study meanwhile.

        Raises:
            HydroError: as the search backend does.
        """
        self._next = index
        self._wanted = max(self._wanted, index + count)
        self._wake()
        if not self._is_ready(index, count):
            _WAITS.inc()
            await self._until_ready(index, count)
        taken = []
        for number in range(index, index + count):
            found = self._line.pop(number)
            _STALENESS.observe(len(self._results) - found.results)
            self._known[number] = KnownTrial(number, found.hyperparameters, Outcome.OPEN)
            taken.append(Suggestion(found.hyperparameters, self._searched(found)))
        self._next = index + count
        self._wake()
        return taken

    def _searched(self, found: _Found) -> SearchedHistory:
        """What it knew beyond the suggestions that were taken before: a later one never knew less."""
        ended = tuple(self._results[self._noted : found.results])
        self._noted = max(self._noted, found.results)
        return SearchedHistory(found.searched_from, ended)

    async def close(self) -> None:
        """Ends the search ahead."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _is_ready(self, index: int, count: int) -> bool:
        return all(
            (found := self._line.get(number)) is not None and len(self._results) - found.results <= self._most_stale
            for number in range(index, index + count)
        )

    async def _until_ready(self, index: int, count: int) -> None:
        while not self._is_ready(index, count):
            self._filled.clear()
            self._failure = None
            self._changed.set()
            self._urgent.set()
            await self._filled.wait()
            if self._failure is not None:
                raise self._failure

    def _wake(self) -> None:
        self._changed.set()
        if self._next not in self._line:
            self._urgent.set()
        if self._task is None:
            self._task = asyncio.create_task(self._search_ahead(), name=f"prefetch {self._request.study}")

    async def _search_ahead(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._urgent.clear()
            begin = time.monotonic()
            try:
                await self._search_once()
            except Exception as error:  # noqa: BLE001  the edge of the loop: who waits is told
                _log.warning("search ahead failed", study=self._request.study, error=str(error))
                self._failure = error if isinstance(error, HydroError) else Internal(f"the search failed: {error}")
                self._filled.set()
            # The search is for all studies: what nobody waits for takes no more than half of a process.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(time.monotonic() - begin):
                    await self._urgent.wait()

    async def _search_once(self) -> None:
        """Searches the line anew if anything of it is missing or stale."""
        for number in [number for number in self._line if number < self._next]:
            del self._line[number]
        first, results = self._next, len(self._results)
        last = min(max(first + self._length, self._wanted), self._most_trials)
        if all(number in self._line and self._line[number].results == results for number in range(first, last)):
            return
        request = replace(self._request, history=tuple(self._known.values()), count=last - first, first_index=first)
        for number, hyperparameters in enumerate(await self._search.ask(request), first):
            if number >= self._next:
                self._line[number] = _Found(hyperparameters, results, first)
        self._filled.set()
        # Some may have been taken meanwhile, and results have come.
        self._changed.set()
