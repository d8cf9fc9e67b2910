"""Keeping a lease alive, and finding out that it is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from hydro.kit.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    HydroError,
    Internal,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from hydro.worker.coordinator import Coordinator
from hydro.worker.recipe import Grant

_Answer = TypeVar("_Answer")

_RENEWALS_PER_LIFE = 3
_RETRY_SECONDS = 0.3
# While the coordinator restarts nobody can expire the lease: it is kept for a second life before it is given up.
_LIVES = 2
# A coordinator that cannot reach its database for a moment says INTERNAL; one that says it again and again has a fault.
_FAULTS = 5
_TEMPORARY = (Unavailable, DeadlineExceeded, Cancelled, Internal)


class LeaseLost(Exception):
    """The lease has expired or was taken over: nothing more may be written under it."""


class LeaseKeeper:
    """Renews a lease in a thread of its own until it is closed.

    The clock runs on while the process is stopped, so one that was stopped past its lease notices before it writes.
    """

    def __init__(self, coordinator: Coordinator, grant: Grant, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._coordinator = coordinator
        self._grant = grant
        self._monotonic = monotonic
        self._renewed_at = monotonic()
        self._lost = threading.Event()
        self._released = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def __enter__(self) -> LeaseKeeper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()

    @property
    def release_requested(self) -> bool:
        """The coordinator wants the lanes checkpointed and the lease released."""
        return self._released.is_set()

    def request_release(self) -> None:
        """Notes that the coordinator wants the lease back."""
        self._released.set()

    def ensure(self) -> None:
        """Returns while the lease is known to live; asks the coordinator when it may have expired.

        Raises:
            LeaseLost: It is gone.
        """
        if self._lost.is_set():
            raise LeaseLost(self._grant.name)
        if self._age() > self._grant.duration_seconds:
            self.insist(self._renew)

    def insist(self, call: Callable[[], _Answer]) -> _Answer:
        """Makes a call that writes under the lease, again and again while the coordinator does not answer.

        Raises:
            LeaseLost: The lease is gone, or the coordinator has been away for too long.
        """
        faults = 0
        while True:
            started = self._monotonic()
            try:
                answer = call()
            except HydroError as error:
                faults += isinstance(error, Internal)
                self._consider(error, faults)
                time.sleep(self._pause_seconds(error))
            else:
                self._renewed_at = started
                return answer

    def _consider(self, error: HydroError, faults: int) -> None:
        """Returns when the call is worth repeating."""
        stale = isinstance(error, FailedPrecondition) and error.reason == "LEASE_LOST"
        if stale or isinstance(error, NotFound):
            self._lose(str(error))
        if not _is_temporary(error) or faults > _FAULTS:
            raise error
        if self._lost.is_set() or self._age() > _LIVES * self._grant.duration_seconds:
            self._lose(f"the coordinator has not answered for {self._age():.0f} s: {error}")

    def _pause_seconds(self, error: HydroError) -> float:
        """As long as the coordinator says, where it does; looking after the lease in between."""
        if error.retry_seconds is None:
            return _RETRY_SECONDS
        return min(error.retry_seconds, self._grant.duration_seconds / _RENEWALS_PER_LIFE)

    def _lose(self, reason: str) -> None:
        if not self._lost.is_set():
            structlog.get_logger().warning("lease lost", lease=self._grant.name, reason=reason)
        self._lost.set()
        raise LeaseLost(reason)

    def _age(self) -> float:
        return self._monotonic() - self._renewed_at

    def _renew(self) -> None:
        if self._coordinator.renew(self._grant):
            self._released.set()

    def _keep(self) -> None:
        while not self._closed.wait(self._grant.duration_seconds / _RENEWALS_PER_LIFE):
            try:
                self.insist(self._renew)
            except LeaseLost:
                return
            except HydroError as error:
                structlog.get_logger().error("lease cannot be renewed", lease=self._grant.name, error=str(error))
                self._lost.set()
                return


def _is_temporary(error: HydroError) -> bool:
    # A quota that is used up says when to come again; a message that is too large never becomes smaller.
    has_time = isinstance(error, ResourceExhausted) and error.retry_seconds is not None
    return has_time or isinstance(error, _TEMPORARY)
