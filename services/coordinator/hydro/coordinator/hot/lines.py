"""The lines of suggestions of the studies that are in this coordinator's memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hydro.coordinator.history import request_of
from hydro.coordinator.hot.hot_study import HotStudy
from hydro.coordinator.names import StudyName
from hydro.coordinator.search.prefetch import Prefetch, Suggestion, line_length, most_stale
from hydro.coordinator.search.random_backend import needs_no_history
from hydro.coordinator.search.search_backend import KnownTrial, Outcome, SearchBackend, SearchRequest
from hydro.coordinator.trial import Hyperparameters


@dataclass(frozen=True, slots=True)
class _Line:
    hot: HotStudy
    prefetch: Prefetch


class Lines:
    """A line for each study that is searched by a model, from its first ask on until it leaves the memory."""

    def __init__(self, search: SearchBackend) -> None:
        self._search = search
        self._lines: dict[StudyName, _Line] = {}

    async def take(self, hot: HotStudy, count: int, before: Iterable[Hyperparameters] = ()) -> Sequence[Suggestion]:
        """Gives what is suggested for the study's next trials behind those that have `before`.

        Who takes holds the study's asks meanwhile.
        """
        known = [KnownTrial(number, each, Outcome.OPEN) for number, each in enumerate(before, hot.next_trial)]
        first = hot.next_trial + len(known)
        line = self._open(hot)
        if count == 0:
            if line is not None:
                line.prefetch.learn(known, first)
            return []
        if needs_no_history(hot.study.spec.sampler, hot.study.spec.search_space):
            # Nothing is learned, and drawing takes microseconds.
            return [Suggestion(each) for each in await self._search.ask(_request(hot, count, first))]
        if line is None:
            line = await self._opened(hot)
        line.prefetch.learn(known, first)
        return await line.prefetch.take(first, count)

    def learn(self, hot: HotStudy, number: int) -> None:
        """Notes that a trial has ended: what was searched before it is stale."""
        line = self._open(hot)
        if line is not None:
            line.prefetch.learn([hot.known_trial(number)], hot.next_trial)

    async def close(self) -> None:
        """Ends all searches ahead."""
        await self._drop(list(self._lines))

    def _open(self, hot: HotStudy) -> _Line | None:
        line = self._lines.get(hot.name)
        return line if line is not None and line.hot is hot else None

    async def _opened(self, hot: HotStudy) -> _Line:
        await self._drop([name for name, line in self._lines.items() if line.hot.closed or line.hot.is_done])
        spec = hot.study.spec
        prefetch = Prefetch(
            self._search,
            _request(hot, 1, hot.next_trial),
            length=line_length(spec),
            most_stale=most_stale(spec),
            most_trials=spec.max_trials,
            noted=hot.noted_ends,
        )
        line = self._lines[hot.name] = _Line(hot, prefetch)
        prefetch.learn(hot.known_trials(), hot.next_trial)
        return line

    async def _drop(self, names: Sequence[StudyName]) -> None:
        # All are taken out before the first is waited for: another study opens its line meanwhile, and does the same.
        for line in [self._lines.pop(name) for name in names]:
            await line.prefetch.close()


def _request(hot: HotStudy, count: int, first_index: int) -> SearchRequest:
    return request_of(hot.study, hot.study.spec.search_space, (), count=count, first_index=first_index)
