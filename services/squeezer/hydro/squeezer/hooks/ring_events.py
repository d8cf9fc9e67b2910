"""A stage's events, with the time of each, into the shared ring."""

from __future__ import annotations

from hydro.squeezer.events import EventWriter
from hydro.squeezer.hooks.events import BUBBLES
from hydro.squeezer.pipeline import StageMemory


class RingEvents:
    """Writes what the squeezer needs, steps and bubbles: a `StageListener`.

    What the stage computes is none of the squeezer's business.
    """

    activities = BUBBLES

    def __init__(self, ring: EventWriter) -> None:
        self._ring = ring
        # Straight into the ring: each call between costs the run.
        self.take = ring.write

    def take_memory(self, memory: StageMemory) -> None:
        """Does nothing: the ring has no memory in it."""
