"""Follows a study: its current state, then every change, from any point on."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

from hydro.coordinator.bell import Bell
from hydro.coordinator.names import StudyName
from hydro.coordinator.overview import overview
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.coordinator.study import Study
from hydro.coordinator.trial import Trial
from hydro.kit.clock import Clock
from hydro.kit.errors import FieldViolation, InvalidArgument, OutOfRange

LOOK_SECONDS = 1.0
SHORTEST_SECONDS = 0.1
"""Changes that come faster than this are given together."""
MAX_CHANGES_KEPT, MAX_TRIALS_KEPT = 64, 4096
"""Of each study that is watched, for those who are a little behind."""


@dataclass(frozen=True, slots=True)
class StudyChange:
    """The study and the trials that changed since the change before; `resume_token` goes on from here."""

    study: Study
    trials: Sequence[Trial]
    resume_token: str


class Watches:
    """Follows studies for any number of watchers: one reads the database, all get what it found.

    Nothing is kept for a watcher: one that is slow reads for itself what has gone by, in fewer and larger changes.
    """

    def __init__(self, storage: Storage, bell: Bell, clock: Clock) -> None:
        self._storage = storage
        self._bell = bell
        self._clock = clock
        self._feeds: dict[StudyName, _Feed] = {}

    async def watch(self, name: StudyName, resume_token: str) -> AsyncIterator[StudyChange]:
        """Gives the study and all its trials, then what changes; with a token, only what has changed since.

        The first answer comes at once, also where nothing has changed: after a study's end no other would come.

        Raises:
            InvalidArgument: the token was not given by this method.
            OutOfRange: the token is of another study of this name, or of a database that was put back.
        """
        uid, revision = _parse(resume_token)
        feed = self._feeds.setdefault(name, _Feed(self._storage, self._bell, self._clock, name))
        feed.watchers += 1
        is_first = True
        try:
            while True:
                ticket = self._bell.ticket()
                changes = await feed.since(uid, revision)
                if is_first and not changes:
                    changes = [await self._storage.run(partial(_now, name=name, uid=uid, revision=revision))]
                is_first = False
                for change in changes:
                    yield change
                    uid, revision = change.study.uid, change.study.revision
                    await asyncio.sleep(SHORTEST_SECONDS)
                await self._bell.wait(ticket, LOOK_SECONDS)
        finally:
            feed.watchers -= 1
            if not feed.watchers and self._feeds.get(name) is feed:
                del self._feeds[name]


class _Feed:
    """The last changes of one study, read once for all who watch it. Used by one task at a time, except `watchers`."""

    def __init__(self, storage: Storage, bell: Bell, clock: Clock, name: StudyName) -> None:
        self.watchers = 0
        self._storage = storage
        self._bell = bell
        self._clock = clock
        self._name = name
        self._turn = asyncio.Lock()
        self._uid = ""
        # All changes after this revision are among those kept.
        self._oldest = 0
        self._newest = 0
        self._kept: deque[StudyChange] = deque()
        self._ticket = bell.ticket()
        self._read_at = 0.0

    async def since(self, uid: str, revision: int) -> Sequence[StudyChange]:
        """What has changed after the revision, up to the bell's last ring."""
        async with self._turn:
            if not uid or uid != self._uid or revision < self._oldest:
                return await self._read_alone(uid, revision)
            if self._ticket.is_set() or self._clock.monotonic() - self._read_at >= LOOK_SECONDS / 2:
                await self._read_on()
            return [change for change in self._kept if change.study.revision > revision]

    async def _read_alone(self, uid: str, revision: int) -> Sequence[StudyChange]:
        ticket = self._bell.ticket()
        change = await self._read(uid, revision)
        if change is not None:
            uid, revision = change.study.uid, change.study.revision
        if uid != self._uid:
            self._uid, self._oldest, self._newest = uid, revision, revision
            self._kept.clear()
            self._ticket, self._read_at = ticket, self._clock.monotonic()
        return [] if change is None else [change]

    async def _read_on(self) -> None:
        ticket = self._bell.ticket()
        change = await self._read(self._uid, self._newest)
        self._ticket, self._read_at = ticket, self._clock.monotonic()
        if change is None:
            return
        self._newest = change.study.revision
        self._kept.append(change)
        while len(self._kept) > 1 and sum(len(each.trials) for each in self._kept) > MAX_TRIALS_KEPT:
            self._oldest = self._kept.popleft().study.revision
        if len(self._kept) > MAX_CHANGES_KEPT:
            self._oldest = self._kept.popleft().study.revision

    async def _read(self, uid: str, revision: int) -> StudyChange | None:
        return await self._storage.run(partial(_change, name=self._name, uid=uid, revision=revision))


async def _change(tx: Transaction, name: StudyName, uid: str, revision: int) -> StudyChange | None:
    study = await _study(tx, name, uid, revision)
    return None if revision == study.revision else await _since(tx, study, revision)


async def _now(tx: Transaction, name: StudyName, uid: str, revision: int) -> StudyChange:
    return await _since(tx, await _study(tx, name, uid, revision), revision)


async def _study(tx: Transaction, name: StudyName, uid: str, revision: int) -> Study:
    study = await tx.studies.get(name)
    if uid and (uid != study.uid or revision > study.revision):
        raise OutOfRange(f"{name}: the resume token is not of this study any more; watch again without it")
    return study


async def _since(tx: Transaction, study: Study, revision: int) -> StudyChange:
    # The study was read first: trials that change after it are given now, and again with their own revision.
    trials = await tx.trials.changed(study.name, revision)
    study = await overview(tx, study)
    token = base64.urlsafe_b64encode(f"{study.uid}:{study.revision}".encode()).decode()
    return StudyChange(study, trials, token)


def _parse(token: str) -> tuple[str, int]:
    if not token:
        return "", 0
    try:
        uid, revision = base64.urlsafe_b64decode(token.encode()).decode().split(":")
        return uid, int(revision)
    except (binascii.Error, ValueError):
        violation = FieldViolation("resume_token", f"is {token[:100]!r}: give one that WatchStudy gave, or none")
        raise InvalidArgument.of([violation]) from None
