"""One commit in flight: what arrives while it is on its way makes the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

import structlog
from prometheus_client import Counter, Histogram

from hydro.coordinator.hot.hot_study import HotStudy
from hydro.coordinator.names import StudyName
from hydro.coordinator.storage.driven_storage import Committed, StudyChanges
from hydro.kit.errors import HydroError, ResourceExhausted, Unavailable

GATHER_SECONDS = 0.02
"""A commit waits at most so long for as many calls as the one before it answered ..."""
GAP_SECONDS = 0.004
"""... and no longer when for so long none has come."""
RETRY_SECONDS = 0.25
"""Who is refused should come again after so long: by then most of those that waited have been answered."""

_log = structlog.get_logger()
_CALLS = Histogram("hydro_commit_calls", "Calls that one group commit answers", buckets=[2**n for n in range(13)])
_FAILURES = Counter("hydro_commit_failures", "Group commits that failed")
_SHED = Counter("hydro_calls_shed", "Calls refused because too many waited for a commit")


class NotStored(Unavailable):
    """The changes are not stored, or nobody knows whether they are: read the study again, and decide again."""


class Writer(Protocol):
    """What stores the changes of many studies in one commit; those whose epoch is stale are missing in its answer."""

    async def write(self, changes: Sequence[StudyChanges]) -> Mapping[StudyName, Committed]:
        """Stores them."""


class _Part:
    """What one commit stores of one study, and who waits for it."""

    def __init__(self, hot: HotStudy) -> None:
        self.hot = hot
        self.changes = hot.changes()
        self.waiting: list[asyncio.Future[None]] = []

    def release(self) -> None:
        """Its changes are stored."""
        for future in self.waiting:
            if not future.done():
                future.set_result(None)

    def fail(self, error: Exception) -> None:
        """Its changes are not stored, or nobody knows."""
        if isinstance(error, HydroError):
            error = NotStored(f"{self.hot.name}: {error.message}")
        for future in self.waiting:
            if not future.done():
                future.set_exception(error)


class GroupCommit:
    """Stores what hot studies decide. A commit that fails closes its studies, and fails what was decided on top of it.

    Args:
        writer: Stores the changes.
        max_waiting: Most calls that wait for a commit; the next one is refused, before it waits as long as they will.
    """

    def __init__(self, writer: Writer, max_waiting: int = 4096) -> None:
        self._writer = writer
        self._max_waiting = max_waiting
        self._forming: dict[StudyName, _Part] = {}
        self._in_flight: dict[StudyName, _Part] = {}
        self._waiting = 0
        self._forming_calls = 0
        self._expected_calls = 0
        self._gathered: asyncio.Future[None] | None = None
        self._run: asyncio.Task[None] | None = None

    def changes(self, hot: HotStudy) -> StudyChanges:
        """What the next commit stores of the study: add to it without awaiting anything, then wait for `stored`.

        Raises:
            ResourceExhausted: OVERLOADED, when too many calls wait.
        """
        if self._waiting >= self._max_waiting:
            _SHED.inc()
            raise ResourceExhausted(
                f"{self._waiting} calls wait for the database: try again later", retry_seconds=RETRY_SECONDS
            )
        part = self._forming.get(hot.name)
        if part is None:
            part = self._forming[hot.name] = _Part(hot)
        return part.changes

    async def stored(self, hot: HotStudy) -> None:
        """Returns once everything that the study decided so far is stored.

        Raises:
            NotStored: it is not, and the study is closed.
        """
        part = self._forming.get(hot.name) or self._in_flight.get(hot.name)
        if part is None or part.hot is not hot:
            if hot.closed:
                raise NotStored(f"{hot.name} was not stored")
            return
        future = asyncio.get_running_loop().create_future()
        part.waiting.append(future)
        if part is self._forming.get(hot.name):
            self._forming_calls += 1
            if self._gathered is not None and self._forming_calls >= self._expected_calls:
                self._end_gathering()
        if self._run is None:
            self._run = asyncio.create_task(self._commit())
        self._waiting += 1
        try:
            await future
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Waits for what is on its way."""
        if self._run is not None:
            await self._run

    async def _commit(self) -> None:
        try:
            while self._forming:
                await self._gather()
                self._in_flight, self._forming = self._forming, {}
                self._expected_calls, self._forming_calls = self._forming_calls, 0
                await self._write(list(self._in_flight.values()))
                self._in_flight = {}
        finally:
            self._run = None

    async def _gather(self) -> None:
        """Waits for the callers that the last commit answered: most of them are about to call again.

        A commit costs the database and this process as much as some calls, so that fewer and larger ones answer more.
        """
        if self._forming_calls >= self._expected_calls:
            return
        loop = asyncio.get_running_loop()
        gathered = self._gathered = loop.create_future()
        end, calls = loop.time() + GATHER_SECONDS, 0
        try:
            while calls < self._forming_calls and loop.time() < end:
                calls = self._forming_calls
                await asyncio.wait([gathered], timeout=GAP_SECONDS)
        finally:
            self._gathered = None

    def _end_gathering(self) -> None:
        if self._gathered is not None and not self._gathered.done():
            self._gathered.set_result(None)

    async def _write(self, parts: Sequence[_Part]) -> None:
        # A call that changes nothing, as one sent twice, waits for what it saw: that is stored by now.
        for part in parts:
            if part.changes.is_empty:
                part.release()
        parts = [part for part in parts if not part.changes.is_empty]
        if not parts:
            return
        _CALLS.observe(sum(len(part.waiting) for part in parts))
        try:
            committed = await self._writer.write([part.changes for part in parts])
        except Exception as error:  # noqa: BLE001 whatever it is, the studies are read again
            if len(parts) > 1 and not isinstance(error, HydroError):
                # One study's row may be what the database refuses: the others do not suffer for it.
                for part in parts:
                    await self._write([part])
                return
            self._fail(parts, error)
            return
        for part in parts:
            stored = committed.get(part.hot.name)
            if stored is None:
                self._fail([part], NotStored(f"{part.hot.name} has another owner"))
                continue
            part.hot.settle(part.changes, stored.revision, stored.time)
            part.release()

    def _fail(self, parts: Sequence[_Part], error: Exception) -> None:
        _FAILURES.inc()
        _log.warning("group commit failed", studies=[str(part.hot.name) for part in parts], error=repr(error))
        for part in parts:
            part.hot.closed = True
            # What was decided meanwhile stands on what was not stored.
            part.fail(error)
            later = self._forming.get(part.hot.name)
            if later is not None and later.hot is part.hot:
                del self._forming[part.hot.name]
                later.fail(error)
