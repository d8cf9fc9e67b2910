"""How many lanes the memory of a slot holds, as it changes under a bundle."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

LOOK_SECONDS = 1.0
"""Between two changes: what was freed, or taken, has to show in what the squeezer tells."""

MARGIN = 1.25
"""A lane that comes back may take so much more than the ones that are there hold on average."""


class SlotMemory:
    """Fits a bundle's lanes to what the squeezer tells of the memory.

    Args:
        room: Bytes that this process may take beside what it holds; below 0: what it has to give back; 0: neither.
        held: Bytes that this process holds.
        monotonic: Tells when it looked.
    """

    def __init__(
        self, room: Callable[[], int], held: Callable[[], int], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._room = room
        self._held = held
        self._monotonic = monotonic
        self._changed_at = -math.inf

    def fitting_lanes(self, lanes: int) -> int | None:
        """Gives how many lanes fit where so many are, 0 when none does; None: as many as there are.

        What they hold is shared out evenly among them, also what a process holds without any: it gives back too little
        then, and again with the next look.
        """
        room = self._room()
        if not room or self._monotonic() - self._changed_at < LOOK_SECONDS:
            return None
        lane_bytes = self._held() / lanes
        more = int(room / (MARGIN * lane_bytes)) if room > 0 else -math.ceil(-room / lane_bytes)
        if more == 0:
            return None
        self._changed_at = self._monotonic()
        return max(0, lanes + more)
