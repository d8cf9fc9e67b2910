"""A stage's events, with the time of each, into the shared ring."""

from __future__ import annotations

from typing import Final

from hydro.squeezer.events import EventKind, EventWriter
from hydro.squeezer.hooks.events import BUBBLES, Activity, StageEventKind
from hydro.squeezer.pipeline import StageMemory

_KINDS: Final = {
    StageEventKind.BEGIN: EventKind.WAIT_BEGIN,
    StageEventKind.END: EventKind.WAIT_END,
    StageEventKind.STEP_BEGIN: EventKind.STEP_BEGIN,
    StageEventKind.STEP_END: EventKind.STEP_END,
    StageEventKind.SCHEDULE_CHANGED: EventKind.SCHEDULE_CHANGED,
}


class RingEvents:
    """Writes what the squeezer needs, steps and bubbles: a `StageListener`.

    What the stage computes is none of the squeezer's business.
    """

    activities = BUBBLES

    def __init__(self, ring: EventWriter) -> None:
        self._ring = ring

    def take(
        self, kind: StageEventKind, stamp_ns: int, activity: Activity | None, schedule_index: int, step: int
    ) -> None:
        """Writes an event of a step or a bubble."""
        self._ring.write(_KINDS[kind], stamp_ns, schedule_index, step)

    def take_memory(self, memory: StageMemory) -> None:
        """Does nothing: the ring has no memory in it."""
