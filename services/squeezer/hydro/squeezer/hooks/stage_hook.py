"""From an engine's adapter to those who listen: stamps each event with the time at which the device reaches it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic_ns, thread_time_ns
from typing import Final, Protocol

import structlog

from hydro.squeezer.hooks.events import Activity, StageEventKind, StageListener
from hydro.squeezer.pipeline import StageMemory

_log = structlog.get_logger()

Event = tuple[StageEventKind, Activity | None, int, int]
Deliver = Callable[[int, Event], None]
Take = Callable[[StageEventKind, int, Activity | None, int, int], None]

# An attribute of an enumeration costs a call, and these calls are what the run pays for.
_BEGIN: Final = StageEventKind.BEGIN
_END: Final = StageEventKind.END


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
        self._tell(StageEventKind.STEP_BEGIN)

    def step_end(self, step: int) -> None:
        """The step has ended."""
        self._tell(StageEventKind.STEP_END)

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
        self._tell(StageEventKind.SCHEDULE_CHANGED)

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

    def _tell(self, kind: StageEventKind, activity: Activity | None = None, schedule_index: int = 0) -> None:
        if self._is_closed:
            return
        # Not the clock's: at a bubble's end a trial may have the core for a moment, which is no cost of the hook.
        began_ns = thread_time_ns()
        try:
            if self._marks is not None:
                self._marks.mark(self._deliver, (kind, activity, schedule_index, self._step))
            else:
                stamp_ns = monotonic_ns()
                for take in self._takers[activity]:
                    take(kind, stamp_ns, activity, schedule_index, self._step)
        except Exception as error:  # noqa: BLE001 - the run goes on, whatever breaks in its hook
            self._end_with(error)
        self.cost_ns += thread_time_ns() - began_ns

    def _deliver(self, stamp_ns: int, event: Event) -> None:
        kind, activity, schedule_index, step = event
        for take in self._takers[activity]:
            take(kind, stamp_ns, activity, schedule_index, step)

    def _end_with(self, error: Exception) -> None:
        self._is_closed = True
        _log.warning("hook ended", error=repr(error))
