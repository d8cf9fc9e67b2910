"""From an engine's adapter to those who listen: stamps each event with the time at which the device reaches it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from hydro.squeezer.hooks.events import Activity, StageEventKind, StageListener
from hydro.squeezer.pipeline import StageMemory

_log = structlog.get_logger()

Event = tuple[StageEventKind, Activity | None, int, int]
Deliver = Callable[[int, Event], None]


class Marks(Protocol):
    """Tells when a device reaches the point at which the host is now."""

    def mark(self, deliver: Deliver, event: Event) -> None:
        """Calls `deliver(stamp_ns, event)` once, in the order of the marks. Does not wait."""

    def close(self) -> None:
        """Ends; marks that were not reached are given up."""


class HostMarks:
    """For a CPU: the device is where the host is."""

    def mark(self, deliver: Deliver, event: Event) -> None:
        """Delivers at once."""
        deliver(time.monotonic_ns(), event)

    def close(self) -> None:
        """Does nothing."""


class StageHook:
    """The events of one stage (a `StageEvents`), stamped, for any number of listeners.

    Whatever goes wrong in here or in a listener ends the hook and not the pipeline run: one line in the log, then
    silence.

    Args:
        listeners: who is told.
        marks: how points of the program become times.
    """

    def __init__(self, listeners: Sequence[StageListener], marks: Marks | None = None) -> None:
        self._listeners = tuple(listeners)
        self._activities = frozenset(each for listener in listeners for each in listener.activities)
        self._marks = marks or HostMarks()
        self._step = 0
        self._is_closed = False
        self.cost_ns = 0
        """Processor time that the hook has taken from the run so far."""

    def step_begin(self, step: int) -> None:
        """A step begins."""
        self._step = step
        self._mark(StageEventKind.STEP_BEGIN)

    def step_end(self, step: int) -> None:
        """The step has ended."""
        self._mark(StageEventKind.STEP_END)

    def begin(self, activity: Activity, schedule_index: int) -> None:
        """An activity begins."""
        if activity in self._activities:
            self._mark(StageEventKind.BEGIN, activity, schedule_index)

    def end(self, activity: Activity, schedule_index: int) -> None:
        """The activity has ended."""
        if activity in self._activities:
            self._mark(StageEventKind.END, activity, schedule_index)

    def schedule_changed(self) -> None:
        """What was observed so far says nothing any more."""
        self._mark(StageEventKind.SCHEDULE_CHANGED)

    def memory(self, measure: Callable[[], StageMemory]) -> None:
        """Measures the stage's memory and passes it on."""
        self._guard(self._pass_on_memory, measure)

    def close(self) -> None:
        """Tells nothing more."""
        self._is_closed = True
        self._marks.close()

    def _mark(self, kind: StageEventKind, activity: Activity | None = None, schedule_index: int = 0) -> None:
        self._guard(self._marks.mark, self._deliver, (kind, activity, schedule_index, self._step))

    def _guard(self, call: Callable[..., None], *arguments: object) -> None:
        if self._is_closed:
            return
        # Not the clock's: at a bubble's end a trial may have the core for a moment, which is no cost of the hook.
        began_ns = time.thread_time_ns()
        try:
            call(*arguments)
        except Exception as error:  # noqa: BLE001 - the run goes on, whatever breaks in its hook
            self._is_closed = True
            _log.warning("hook ended", error=repr(error))
        self.cost_ns += time.thread_time_ns() - began_ns

    def _pass_on_memory(self, measure: Callable[[], StageMemory]) -> None:
        memory = measure()
        for listener in self._listeners:
            listener.take_memory(memory)

    def _deliver(self, stamp_ns: int, event: Event) -> None:
        kind, activity, schedule_index, step = event
        for listener in self._listeners:
            if activity is None or activity in listener.activities:
                listener.take(kind, stamp_ns, activity, schedule_index, step)
