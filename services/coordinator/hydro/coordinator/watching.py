"""Follows a study: its current state, then every change, from any point on."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial

from hydro.coordinator.bell import Bell
from hydro.coordinator.names import StudyName
from hydro.coordinator.overview import overview
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.coordinator.study import Study
from hydro.coordinator.trial import Trial
from hydro.kit.errors import FieldViolation, InvalidArgument, OutOfRange

LOOK_SECONDS = 1.0
SHORTEST_SECONDS = 0.1
"""Changes that come faster than this are given together."""


@dataclass(frozen=True, slots=True)
class StudyChange:
    """The study and the trials that changed since the change before; `resume_token` goes on from here."""

    study: Study
    trials: Sequence[Trial]
    resume_token: str


async def watch_study(storage: Storage, bell: Bell, name: StudyName, resume_token: str) -> AsyncIterator[StudyChange]:
    """Gives the study and all its trials, then what changes; with a token, only what has changed since.

    A reader that is slow gets fewer and larger changes: nothing is kept for it.

    Raises:
        InvalidArgument: the token was not given by this method.
        OutOfRange: the token is of another study of this name, or of a database that was put back.
    """
    uid, revision = _parse(resume_token)
    while True:
        ticket = bell.ticket()
        change = await storage.run(partial(_change, name=name, uid=uid, revision=revision))
        if change is not None:
            yield change
            uid, revision = change.study.uid, change.study.revision
            await asyncio.sleep(SHORTEST_SECONDS)
        await bell.wait(ticket, LOOK_SECONDS)


async def _change(tx: Transaction, name: StudyName, uid: str, revision: int) -> StudyChange | None:
    # The revision first: trials that change after it is read are given now, and again with their own revision.
    study = await tx.studies.get(name)
    if uid and (uid != study.uid or revision > study.revision):
        raise OutOfRange(f"{name}: the resume token is not of this study any more; watch again without it")
    if revision == study.revision:
        return None
    trials = await tx.trials.changed(name, revision)
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
