"""The gate: what lets a trial's worker run in a bubble, and stops it at the bubble's end.

One shared page per claim of a slot, in HYDRO_GATE_DIRECTORY. The controller opens the gate with a deadline; the worker
launches a segment only when the segment's own 99th percentile fits before it. So a worker stops by itself even when the
controller dies in an open bubble; and by the stage's own wait number it stops even when the bubble ends before its
forecast and the controller has not seen it yet. Errors:

    GateLost                 the slot has gone for this worker: checkpoint, release, acquire another lease
      SegmentDoesNotFit      the bundle's segments are longer than any bubble of the slot
    Interrupted              the worker itself is to stop, and waits at a closed gate
"""

from __future__ import annotations

import time
from enum import IntEnum
from pathlib import Path
from typing import Final

from hydro.squeezer.shared_page import HEADER_WORDS, PageRejected, SharedPage

MAGIC: Final = 0x48594452_4F474154
SUFFIX: Final = ".gate"

# Words the controller writes.
SEQUENCE, DEADLINE, WAIT, LONGEST, STATUS, CONTROLLER_BEAT, MEMORY_ROOM = range(HEADER_WORDS, HEADER_WORDS + 7)
# Words the worker writes, on another cache line.
RUNNING, USED, SEGMENTS, LATE, WORKER_BEAT, WORKER_PID, ACK = range(24, 31)
RING_NAME: Final = 32  # first word of the file name of the stage's event ring
RING_NAME_WORDS: Final = 32
WORD_COUNT: Final = 64


class GateLost(Exception):
    """The gate is no longer this worker's: its claim has ended, its controller is gone, or it is left over."""


class SegmentDoesNotFit(GateLost):
    """A segment takes longer than the slot's longest bubble, or found no bubble for too long."""


class Interrupted(Exception):
    """The worker was told to stop while it waited for a bubble; nothing of the segment has run."""


class PageStatus(IntEnum):
    """Whether the page may be used."""

    LIVE = 0
    REVOKED = 1
    """The claim has ended: the slot was released, taken over, or has gone."""


class ControllerGate:
    """The controller's end: opens and closes, and sees what the worker does."""

    def __init__(self, page: SharedPage) -> None:
        self._page = page
        self._words = page.words
        self.beat()

    @classmethod
    def create(cls, path: Path, ring_name: str) -> ControllerGate:
        """Makes a closed gate to the bubbles of the stage whose event ring has this file name."""
        page = SharedPage.create(path, magic=MAGIC, word_count=WORD_COUNT)
        page.write_text(RING_NAME, RING_NAME_WORDS, ring_name)
        return cls(page)

    @classmethod
    def revoke_leftover(cls, path: Path) -> None:
        """Revokes the gate that an earlier life of the controller left, or takes the file away if it is none."""
        try:
            page = SharedPage.attach(path, magic=MAGIC, word_count=WORD_COUNT)
        except PageRejected:
            path.unlink(missing_ok=True)
            return
        cls(page).revoke()

    @property
    def path(self) -> Path:
        """File of the page."""
        return self._page.path

    def open(self, wait: int, deadline_ns: int, longest_bubble_ns: int) -> None:
        """Lets the worker run in the stage's wait of this number, until `deadline_ns` (monotonic)."""
        self.close()
        words = self._words
        words[WAIT], words[DEADLINE], words[LONGEST] = wait, deadline_ns, longest_bubble_ns
        # Odd means open. The deadline stands before the number that shows it.
        words[SEQUENCE] += 1
        self._page.wake(SEQUENCE)

    def close(self) -> None:
        """Ends the bubble. The worker is not woken: it would only take the time of who has come back to work."""
        if self._words[SEQUENCE] % 2:
            self._words[SEQUENCE] += 1

    def revoke(self) -> None:
        """Ends the claim: the worker finds GateLost at its next segment."""
        self.close()
        self._words[STATUS] = PageStatus.REVOKED
        # Another value, so that a worker that is about to sleep looks again.
        self._words[SEQUENCE] += 2
        self._page.wake(SEQUENCE)
        self._page.unlink()

    def tell_memory_room(self, room_bytes: int) -> None:
        """Tells the worker what memory it may take, or below 0 what it should give back."""
        # As a two's complement.
        self._words[MEMORY_ROOM] = room_bytes

    def beat(self) -> None:
        """Tells the worker that the controller lives."""
        self._words[CONTROLLER_BEAT] = time.monotonic_ns()

    @property
    def is_open(self) -> bool:
        """A bubble is on."""
        return self._words[SEQUENCE] % 2 == 1

    @property
    def is_quiet(self) -> bool:
        """No segment runs: everything the worker launched has ended."""
        return self._words[RUNNING] == 0

    @property
    def deadline_ns(self) -> int:
        """Of the latest bubble."""
        return self._words[DEADLINE]

    @property
    def acknowledged(self) -> int:
        """Number of the latest bubble after which the worker reported that it is quiet."""
        return self._words[ACK]

    @property
    def used_ns(self) -> int:
        """Nanoseconds that segments ran."""
        return self._words[USED]

    @property
    def late_ns(self) -> int:
        """Nanoseconds that segments ran on after their bubble's end."""
        return self._words[LATE]

    @property
    def segments(self) -> int:
        """Segments that have ended."""
        return self._words[SEGMENTS]

    @property
    def worker_pid(self) -> int:
        """Process of the worker; 0 before it has attached."""
        return self._words[WORKER_PID]

    def worker_has_page(self) -> bool:
        """The worker's process lives and has this page mapped, so its number is not a later process's."""
        return self.worker_pid > 1 and self._page.is_mapped_by(self.worker_pid)

    def worker_silence_ns(self) -> int | None:
        """Gives how long ago the worker last showed itself; None before it has attached."""
        beat = self._words[WORKER_BEAT]
        return time.monotonic_ns() - beat if beat else None

    def overdue_ns(self) -> int:
        """Gives how long past its deadline a segment still runs; 0 when none does."""
        if not self._words[RUNNING]:
            return 0
        return max(0, time.monotonic_ns() - self._words[DEADLINE])
