"""A stage's events, with the time of each, into the shared ring."""

from __future__ import annotations

import time

from hydro.squeezer.events import EventKind, EventWriter


class RingEvents:
    """Stamps each event and writes it; see `StageEvents` for the laws."""

    def __init__(self, ring: EventWriter) -> None:
        self._ring = ring
        self._step = 0

    def step_begin(self, step: int) -> None:
        """A step of the pipeline run begins."""
        self._step = step
        self._ring.write(EventKind.STEP_BEGIN, time.monotonic_ns(), step=step)

    def step_end(self, step: int) -> None:
        """The step has ended, optimizer included."""
        self._ring.write(EventKind.STEP_END, time.monotonic_ns(), step=step)

    def wait_begin(self, schedule_index: int) -> None:
        """A bubble begins before the operation of this index."""
        self._ring.write(EventKind.WAIT_BEGIN, time.monotonic_ns(), schedule_index, self._step)

    def wait_end(self, schedule_index: int) -> None:
        """The wait is over."""
        self._ring.write(EventKind.WAIT_END, time.monotonic_ns(), schedule_index, self._step)

    def schedule_changed(self) -> None:
        """Another schedule, other microbatches or other shapes from now on."""
        self._ring.write(EventKind.SCHEDULE_CHANGED, time.monotonic_ns())
