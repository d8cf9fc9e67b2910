"""Following a study over broken connections."""

from __future__ import annotations

import time
from collections.abc import Iterator

import structlog

from hydro.client.calls import CoordinatorCalls
from hydro.client.names import StudyName
from hydro.client.snapshots import StudyChange
from hydro.kit.errors import Cancelled, DeadlineExceeded, OutOfRange, Unavailable

_RETRY_SECONDS = 0.5
_log = structlog.get_logger()


def watch(coordinator: CoordinatorCalls, name: StudyName, resume_token: str = "") -> Iterator[StudyChange]:
    """What changed after the token, or the study's current state and every change from there, until it has ended.

    A connection that breaks is taken up again where it broke. A token of another study of that name counts as none.
    """
    while True:
        try:
            for change in coordinator.watch_study(name, resume_token):
                resume_token = change.resume_token
                yield change
                if change.study.state.has_ended:
                    return
        except OutOfRange:
            resume_token = ""
        except (Unavailable, DeadlineExceeded, Cancelled) as error:
            _log.debug("watch broken", study=str(name), error=str(error))
        time.sleep(_RETRY_SECONDS)
