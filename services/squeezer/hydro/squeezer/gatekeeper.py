"""The thread that opens and closes one stage's gate: from the event ring to the gate page in tens of microseconds."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog

from hydro.squeezer.controller import Controller, ControllerSettings, Totals, WorkerProgress
from hydro.squeezer.events import Event, EventKind, EventReader
from hydro.squeezer.gate import ControllerGate
from hydro.squeezer.shared_page import PageRejected

_log = structlog.get_logger()
_IDLE_NS: Final = 50_000_000


@dataclass(frozen=True, slots=True)
class WatchdogSettings:
    """When a worker counts as hung or gone."""

    overdue_seconds: float = 1.0
    """A segment that runs so long past its deadline loses the slot."""
    kill_seconds: float = 2.0
    """One that still runs so long after that is killed."""
    silence_seconds: float = 5.0
    """A worker that has not beaten so long has lost the slot."""


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the control plane wants to know of a stage's gate.

    Units: nanoseconds where the name says so.
    """

    totals: Totals
    events_dropped: int
    used_ns: int
    duty_cycle: float
    longest_grant_ns: int
    breaker_is_open: bool
    breaker_trips: int


class Gatekeeper(threading.Thread):
    """Reads a stage's events, asks the controller, moves the gate, and watches the worker behind it.

    The controller and the gate are used under a lock: the control plane installs gates from another thread.

    Args:
        reader: the stage's event ring.
        settings: numbers of the controller.
        watchdog: when to give a worker up.
        on_eviction: called from this thread with the gate whose worker has lost the slot.
    """

    def __init__(
        self,
        reader: EventReader,
        settings: ControllerSettings,
        watchdog: WatchdogSettings,
        on_eviction: Callable[[ControllerGate], None],
    ) -> None:
        super().__init__(name="gatekeeper", daemon=True)
        self._reader = reader
        self._controller = Controller(settings)
        self._watchdog = watchdog
        self._on_eviction = on_eviction
        self._lock = threading.Lock()
        self._gate: ControllerGate | None = None
        self._retired: list[_RetiredGate] = []
        self._used_before_ns = 0
        self._stopping = threading.Event()
        self._report = self._make_report()

    @property
    def report(self) -> GateReport:
        """As of the latest step or idle moment."""
        return self._report

    def install(self, gate: ControllerGate | None) -> None:
        """Puts a claim's gate in place of the present one, which is revoked."""
        with self._lock:
            previous, self._gate = self._gate, gate
            if previous is not None:
                self._retire(previous)
            self._controller.forget_worker()
            self._want()

    def stop(self) -> None:
        """Closes and revokes the gate and ends the thread."""
        self._stopping.set()
        self.join()

    def run(self) -> None:
        """Serves events until stopped, or until another reader has taken the ring over."""
        try:
            self._serve()
        except PageRejected as error:
            _log.warning("event ring damaged", error=str(error))
        finally:
            self.install(None)

    def _serve(self) -> None:
        while not self._stopping.is_set() and not self._reader.is_replaced:
            for event in self._reader.read(_IDLE_NS):
                with self._lock:
                    self._take(event)
            with self._lock:
                self._look_after_worker()

    def _take(self, event: Event) -> None:
        # A stamp from the future would open the gate for as long.
        event = replace(event, stamp_ns=min(event.stamp_ns, time.monotonic_ns()))
        match event.kind:
            case EventKind.BEGIN:
                self._bubble_begins(event)
            case EventKind.END:
                self._bubble_ends(event)
            case EventKind.STEP_BEGIN:
                self._controller.step_begin(event.stamp_ns)
            case EventKind.STEP_END:
                self._controller.step_end(event.stamp_ns, self._progress())
                self._want()
                self._report = self._make_report()
            case EventKind.SCHEDULE_CHANGED:
                self._controller.invalidate()
                if self._gate is not None:
                    self._gate.close()

    def _bubble_begins(self, event: Event) -> None:
        gate = self._gate
        # What an evicted worker still runs counts as much as what the present one does.
        ready = gate is not None and gate.is_quiet and not self._retired
        grant = self._controller.bubble_begin(event.schedule_index, event.stamp_ns, claimed=ready)
        # A bubble that is over before we got to see it is not opened.
        if grant is not None and gate is not None and self._reader.wait == event.wait:
            gate.open(event.wait, grant.deadline_ns, grant.longest_ns)
            self._controller.opened()

    def _bubble_ends(self, event: Event) -> None:
        if self._gate is not None:
            self._gate.close()
        self._controller.bubble_end(event.schedule_index, event.stamp_ns)
        self._reader.publish(self._controller.totals.gates_opened, self._used_ns())

    def _want(self) -> None:
        """Without a worker nobody needs to be woken."""
        self._reader.want(self._controller.wanted if self._gate is not None else ())

    def _progress(self) -> WorkerProgress:
        gate = self._gate
        return WorkerProgress() if gate is None else WorkerProgress(gate.used_ns, gate.late_ns)

    def _look_after_worker(self) -> None:
        gate = self._gate
        if gate is not None:
            gate.beat()
            if self._has_lost(gate):
                self._evict(gate)
        self._retired = [each for each in self._retired if not self._is_over(each)]
        self._reader.publish(self._controller.totals.gates_opened, self._used_ns())
        self._report = self._make_report()

    def _has_lost(self, gate: ControllerGate) -> bool:
        silence_ns = gate.worker_silence_ns() or 0
        return (
            gate.overdue_ns() > self._watchdog.overdue_seconds * 1e9
            or silence_ns > self._watchdog.silence_seconds * 1e9
        )

    def _evict(self, gate: ControllerGate) -> None:
        _log.warning(
            "worker evicted",
            gate=gate.path.name,
            overdue_seconds=gate.overdue_ns() / 1e9,
            silence_seconds=(gate.worker_silence_ns() or 0) / 1e9,
        )
        self._gate = None
        self._retire(gate)
        self._controller.forget_worker()
        self._on_eviction(gate)

    def _retire(self, gate: ControllerGate) -> None:
        gate.revoke()
        self._used_before_ns += gate.used_ns
        self._retired.append(_RetiredGate(gate, time.monotonic_ns()))

    def _is_over(self, retired: _RetiredGate) -> bool:
        """Nothing runs behind a revoked gate any more; a worker that goes on running is killed in the end."""
        gate = retired.gate
        if gate.is_quiet or not gate.worker_has_page():
            return True
        if time.monotonic_ns() - retired.since_ns > self._watchdog.kill_seconds * 1e9:
            kill_worker(gate)
            return True
        return False

    def _used_ns(self) -> int:
        return self._used_before_ns + (self._gate.used_ns if self._gate is not None else 0)

    def _make_report(self) -> GateReport:
        controller = self._controller
        return GateReport(
            totals=replace(controller.totals),
            events_dropped=self._reader.dropped,
            used_ns=self._used_ns(),
            duty_cycle=controller.duty_cycle,
            longest_grant_ns=controller.longest_grant_ns,
            breaker_is_open=controller.guard.breaker_is_open,
            breaker_trips=controller.guard.breaker_trips,
        )


@dataclass(frozen=True, slots=True)
class _RetiredGate:
    """A gate whose claim has ended, until its worker is quiet."""

    gate: ControllerGate
    since_ns: int


def kill_worker(gate: ControllerGate) -> None:
    """Ends the process behind a gate, if it is still that process."""
    if not gate.worker_has_page():
        return
    _log.warning("worker killed", gate=gate.path.name, pid=gate.worker_pid)
    try:
        os.kill(gate.worker_pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        _log.warning("worker could not be killed", pid=gate.worker_pid)
