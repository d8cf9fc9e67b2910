"""The studies that this coordinator owns and keeps in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar
from weakref import WeakValueDictionary

import structlog

from hydro.coordinator.hot.group_commit import GroupCommit, NotStored
from hydro.coordinator.hot.hot_study import HotStudy
from hydro.coordinator.names import StudyName
from hydro.coordinator.ownership.owner import NotOwner
from hydro.coordinator.storage.driven_storage import ClaimedStudy, DrivenStorage
from hydro.kit.clock import Clock
from hydro.kit.errors import Unavailable

_log = structlog.get_logger()
Result = TypeVar("Result")
MAX_STUDIES = 128
"""Most studies in memory; what was not used for longest makes room."""
RETRY_SECONDS = 25.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.02, 1.0


class HotStudies:
    """Reads studies into memory when they are first needed, and again when a commit failed.

    Args:
        storage: where they are.
        commit: stores what is decided.
        clock: measures the pauses between attempts.
        owner: this coordinator's id.
        term: of its membership: in the same one nobody can have taken a study over.
        retry_seconds: for so long a call tries again while the database does not answer.
    """

    def __init__(
        self,
        storage: DrivenStorage,
        commit: GroupCommit,
        clock: Clock,
        owner: str,
        term: Callable[[], int | None] = lambda: 0,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._storage = storage
        self._commit = commit
        self._clock = clock
        self.owner = owner
        self._term = term
        self._retry_seconds = retry_seconds
        self._studies: OrderedDict[StudyName, HotStudy] = OrderedDict()
        # Gone once nobody is at them: callers may name any number of studies that there are not.
        self._gates: WeakValueDictionary[StudyName, asyncio.Lock] = WeakValueDictionary()
        self._is_leaving = False
        self._deciding = 0
        self._all_decided = asyncio.Event()

    async def run(self, name: StudyName, decide: Callable[[HotStudy], Awaitable[Result]]) -> Result:
        """Decides on the study in memory. `decide` gives its answer once what it decided is stored.

        When that fails, it runs again on what the database has: an answer of the first time is found there.

        Raises:
            NotFound: there is no such study.
            FailedPrecondition: the study has a task.
            NotOwner: another coordinator owns the study, or this one is about to leave.
            Unavailable: the database does not answer.
        """
        if self._is_leaving:
            raise NotOwner(f"the owner of {name} is being stopped: ask again")
        self._deciding += 1
        try:
            return await self._decided(name, decide)
        finally:
            self._deciding -= 1
            if not self._deciding:
                self._all_decided.set()

    async def leave(self, patience_seconds: float) -> None:
        """Begins no decision any more, and waits for the answers of those that were begun, for so long at most."""
        self._is_leaving = True
        while self._deciding:
            self._all_decided.clear()
            try:
                async with asyncio.timeout(patience_seconds):
                    await self._all_decided.wait()
            except TimeoutError:
                _log.warning("calls are left without an answer", calls=self._deciding)
                return

    async def _decided(self, name: StudyName, decide: Callable[[HotStudy], Awaitable[Result]]) -> Result:
        end, pause = self._clock.monotonic() + self._retry_seconds, _FIRST_PAUSE_SECONDS
        while True:
            hot = None
            try:
                hot = self._studies.get(name)
                if hot is None or hot.term is None or hot.term != self._term():
                    hot = await self._opened(name)
                self._studies.move_to_end(name)
                return await decide(hot)
            except NotStored:
                if hot is not None:
                    self._forget(hot)
                if self._clock.monotonic() + pause > end:
                    raise
                await self._clock.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    @asynccontextmanager
    async def exclusive(self, name: StudyName) -> AsyncIterator[None]:
        """Nobody decides on the study meanwhile; afterwards it is read again."""
        async with self._gate(name):
            hot = self._studies.pop(name, None)
            if hot is not None:
                await self._close(hot)
            yield

    async def _opened(self, name: StudyName) -> HotStudy:
        async with self._gate(name):
            hot, term = self._studies.get(name), self._term()
            if hot is not None and (term is None or hot.term != term) and not await self._holds(hot):
                self._forget(hot)
                await self._close(hot)
                hot = None
            if hot is None:
                hot = await asyncio.to_thread(HotStudy, await self._claimed(name))
                self._studies[name] = hot
                _log.info("study opened", study=str(name), epoch=hot.epoch, trials=hot.next_trial)
                await self._make_room()
            hot.term = term
            return hot

    async def _holds(self, hot: HotStudy) -> bool:
        try:
            return await self._storage.holds(hot.name, hot.epoch)
        except Unavailable as error:
            raise NotStored(error.message) from error

    async def _claimed(self, name: StudyName) -> ClaimedStudy:
        try:
            claimed = await self._storage.claim(name, self.owner)
        except Unavailable as error:
            raise NotStored(error.message) from error
        if claimed is None:
            raise NotOwner(f"{name} has another owner")
        return claimed

    def _gate(self, name: StudyName) -> asyncio.Lock:
        gate = self._gates.get(name)
        if gate is None:
            gate = self._gates[name] = asyncio.Lock()
        return gate

    def _forget(self, hot: HotStudy) -> None:
        if self._studies.get(hot.name) is hot:
            del self._studies[hot.name]

    async def _make_room(self) -> None:
        while len(self._studies) > MAX_STUDIES:
            _, oldest = self._studies.popitem(last=False)
            await self._close(oldest)

    async def _close(self, hot: HotStudy) -> None:
        hot.closed = True
        with contextlib.suppress(NotStored):
            await self._commit.stored(hot)
