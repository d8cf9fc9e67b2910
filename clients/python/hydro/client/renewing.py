"""Says of the trials that this process drives that it lives, beside whatever it does meanwhile."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Collection

import structlog

from hydro.client.names import StudyName, TrialName
from hydro.kit.errors import HydroError, NotFound

RENEWALS = 3
"""In the time that a study gives its callers, so often is each trial renewed."""

CLOSE_SECONDS = 5.0
"""Waited at most for the renewal that is under way when all of them end."""

Run = tuple[TrialName, int]
"""A trial, and how many of its runs were lost before this one."""
Renew = Callable[[StudyName, Collection[Run]], Collection[TrialName]]
_log = structlog.get_logger()


class Renewals:
    """Renews runs in a thread, from the first one that is kept until none is left. `renew` gives the lost ones.

    A process that is forked off begins without runs: those of its parent are its parent's, whose thread it has not.
    """

    def __init__(self, renew: Renew) -> None:
        self._renew = renew
        self._begin()
        _LIVING.add(self)

    def _begin(self) -> None:
        self._pauses: dict[Run, float] = {}
        self._due: dict[Run, float] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def keep(self, run: Run, timeout_seconds: float) -> None:
        """Renews the run from now on, often enough for the study's timeout."""
        with self._changed:
            self._pauses[run] = timeout_seconds / RENEWALS
            self._due[run] = time.monotonic() + self._pauses[run]
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="hydro-renewals", daemon=True)
                self._thread.start()
            self._changed.notify()

    def drop(self, run: Run) -> None:
        """Renews the run no more."""
        with self._changed:
            self._due.pop(run, None)
            self._pauses.pop(run, None)

    def count(self, study: StudyName) -> int:
        """How many trials of a study are renewed."""
        with self._changed:
            return sum(name.study == study for name, _ in self._due)

    def close(self) -> None:
        """Renews nothing any more; a renewal that is under way has ended, or has had its time."""
        with self._changed:
            self._due.clear()
            self._pauses.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_SECONDS)

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._due:
                    self._thread = None
                    return
                now = time.monotonic()
                wait = min(self._due.values()) - now
                if wait > 0:
                    self._changed.wait(wait)
                    continue
                self._due = {run: now + pause for run, pause in self._pauses.items()}
                runs = list(self._due)
            for study in {name.study for name, _ in runs}:
                self._renew_all(study, [run for run in runs if run[0].study == study])

    def _renew_all(self, study: StudyName, runs: Collection[Run]) -> None:
        try:
            lost = self._renew(study, runs)
        except NotFound:
            lost = [name for name, _ in runs]
        except HydroError as error:
            _log.warning("trials cannot be renewed", study=str(study), error=error.message)
            return
        except Exception:  # noqa: BLE001 - the next renewal may succeed; without the thread every trial would be lost
            _log.exception("trials cannot be renewed", study=str(study))
            return
        for run in runs:
            if run[0] in lost:
                self.drop(run)


_LIVING: weakref.WeakSet[Renewals] = weakref.WeakSet()


def _begin_in_child() -> None:
    for each in _LIVING:
        each._begin()


os.register_at_fork(after_in_child=_begin_in_child)
