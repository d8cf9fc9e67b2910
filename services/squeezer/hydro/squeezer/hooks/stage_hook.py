"""From an engine's adapter to those who listen: stamps each event with the time at which the device reaches it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic_ns, thread_time_ns
from typing import Final, Protocol

import structlog

from hydro.squeezer.events import EventKind
from hydro.squeezer.hooks.events import Activity, StageListener
from hydro.squeezer.pipeline import StageMemory

_log = structlog.get_logger()

Event = tuple[EventKind, int, int, Activity | None]
Deliver = Callable[[int, Event], None]
Take = Callable[[EventKind, int, int, int, Activity | None], None]

# An attribute of an enumeration costs a call, and these calls are what the run pays for.
_BEGIN: Final = EventKind.BEGIN
_END: Final = EventKind.END


class Marks(Protocol):
    """Tells when a device reaches the point at which the host is now."""

    def mark(self, deliver: Deliver, event: Event) -> None:
        """Calls `deliver(stamp_ns, event)` once, in the order of the marks. Does not wait."""

    def close(self) -> None:
        """Ends; marks that were not reached are given up."""


class StageHook:
    """The events of one stage (a `StageEvents`), stamped, for any number of listeners.

    Whatever goes wrong in here or in a listener ends the hook and not the pipeline run: one line in the log, then
    silence. An event finds the processor's caches full of what the stage computes, so that each function and each name
    on its way costs microseconds: there are few.

    Args:
        listeners: who is told.
        marks: how points of the program become times; None: the device is where the host is.
    """

    __slots__ = ("_is_closed", "_listeners", "_marks", "_step", "_takers", "cost_ns")

    def __init__(self, listeners: Sequence[StageListener], marks: Marks | None = None) -> None:
        self._listeners = tuple(listeners)
        self._takers: dict[Activity | None, tuple[Take, ...]] = {None: tuple(each.take for each in listeners)}
        for activity in Activity:
            takers = tuple(each.take for each in listeners if activity in each.activities)
            if takers:
                self._takers[activity] = takers
        self._marks = marks
        self._step = 0
        self._is_closed = False
        self.cost_ns = 0
        """Processor time that the hook has taken from the run so far."""

    def step_begin(self, step: int) -> None:
        """A step begins."""
        self._step = step
        self._tell(EventKind.STEP_BEGIN)

    def step_end(self, step: int) -> None:
        """The step has ended."""
        self._tell(EventKind.STEP_END)

    def begin(self, activity: Activity, schedule_index: int) -> None:
        """An activity begins."""
        if activity in self._takers:
            self._tell(_BEGIN, activity, schedule_index)

    def end(self, activity: Activity, schedule_index: int) -> None:
        """The activity has ended."""
        if activity in self._takers:
            self._tell(_END, activity, schedule_index)

    def schedule_changed(self) -> None:
        """What was observed so far says nothing any more."""
        self._tell(EventKind.SCHEDULE_CHANGED)

    def memory(self, measure: Callable[[], StageMemory]) -> None:
        """Measures the stage's memory and passes it on."""
        if self._is_closed:
            return
        began_ns = thread_time_ns()
        try:
            memory = measure()
            for listener in self._listeners:
                listener.take_memory(memory)
        except Exception as error:  # noqa: BLE001 - the run goes on, whatever breaks in its hook
            self._end_with(error)
        self.cost_ns += thread_time_ns() - began_ns

    def close(self) -> None:
        """Tells nothing more."""
        self._is_closed = True
        if self._marks is not None:
            self._marks.close()

    def _tell(self, kind: EventKind, activity: Activity | None = None, schedule_index: int = 0) -> None:
        if self._is_closed:
            return
        # Not the clock's: at a bubble's end a trial may have the core for a moment, which is no cost of the hook.
        began_ns = thread_time_ns()
        try:
            if self._marks is not None:
                self._marks.mark(self._deliver, (kind, schedule_index, self._step, activity))
            else:
                stamp_ns = monotonic_ns()
                for take in self._takers[activity]:
                    take(kind, stamp_ns, schedule_index, self._step, activity)
        except Exception as error:  # noqa: BLE001 - the run goes on, whatever breaks in its hook
            self._end_with(error)
        self.cost_ns += thread_time_ns() - began_ns

    def _deliver(self, stamp_ns: int, event: Event) -> None:
        kind, schedule_index, step, activity = event
        for take in self._takers[activity]:
            take(kind, stamp_ns, schedule_index, step, activity)

    def _end_with(self, error: Exception) -> None:
        self._is_closed = True
        _log.warning("hook ended", error=repr(error))
