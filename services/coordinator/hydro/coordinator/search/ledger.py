"""What a search process has been told of each study, so that a history does not travel at each ask.

The backend owns no state for all that: whoever asks knows what the process holds, and a process that does not hold it
says so and is told everything. An answer is a function of the whole history, however it came.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace

from hydro.coordinator.search.search_backend import KnownTrial, SearchRequest

MOST_STUDIES = 64
"""That a process holds: those asked for last. Both sides count alike."""


@dataclass(frozen=True, slots=True)
class Update:
    """A request with what is new of its history.

    `version` counts the study's requests before it; 0: it has everything.
    """

    request: SearchRequest
    version: int


@dataclass(slots=True)
class _Told:
    version: int
    what: SearchRequest
    trials: dict[int, KnownTrial]


class Ledger:
    """The side of the coordinator; `Sessions` is the process'."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, _Told] = OrderedDict()

    def update(self, request: SearchRequest) -> Update:
        """What the process has to be told."""
        told = self._told.get(request.study)
        if told is None or not _goes_on(told.what, request):
            return Update(request, 0)
        # By identity first: most of a history are the very objects of the last time.
        known = told.trials
        new = [each for each in request.history if (old := known.get(each.number)) is not each and old != each]
        return Update(replace(request, history=tuple(new)), told.version)

    def note(self, request: SearchRequest, update: Update) -> None:
        """Notes that the process has taken the update in."""
        if not request.study:
            return
        told = self._told.pop(request.study, None)
        if told is None or update.version == 0:
            told = _Told(0, replace(request, history=()), {})
        told.version = update.version + 1
        told.trials.update((each.number, each) for each in update.request.history)
        self._told[request.study] = told
        if len(self._told) > MOST_STUDIES:
            self._told.popitem(last=False)

    def forget(self, study: str | None = None) -> None:
        """Notes that the process may not hold the study, or anything."""
        if study is None:
            self._told.clear()
        else:
            self._told.pop(study, None)


def _goes_on(told: SearchRequest, request: SearchRequest) -> bool:
    return _about(told) == _about(request)


def _about(request: SearchRequest) -> SearchRequest:
    """The request without what each of a study's requests has of its own."""
    return replace(request, history=(), count=0, first_index=0)
