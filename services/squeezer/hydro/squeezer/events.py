"""Events of a pipeline stage, from the hook in its process to the squeezer: a bounded ring in a shared page.

The hook never waits: when the ring is full, the event is dropped and counted. Beside the ring stands the number of the
wait that the stage is in, which a worker reads by itself before each segment: so a bubble's end stops it at once, even
when the squeezer gets its processor late. Some words go the other way: at the begin of which bubbles the squeezer wants
to be woken, and what trials did in them, so that the stage's side can tell in which of its steps they worked.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from hydro.squeezer.shared_page import HEADER_WORDS, PageRejected, SharedPage

MAGIC: Final = 0x48594452_4F455654
CAPACITY: Final = 1024

_HEAD, _TAIL, _DROPPED, _CONSUMER, _CONSUMER_BEAT, _OPENED, _USED, _WAIT, _WAIT_ENDED, _WANTED = range(
    HEADER_WORDS, HEADER_WORDS + 10
)
_WANTED_WORDS: Final = 8
"""From `_WANTED` on: a bit for each schedule index, by its remainder. One wake too many is no harm."""
_FIRST_RECORD: Final = 32
_RECORD_WORDS: Final = 5
_WORD_COUNT: Final = _FIRST_RECORD + CAPACITY * _RECORD_WORDS


class EventKind(IntEnum):
    """What happened in the stage."""

    STEP_BEGIN = 1
    STEP_END = 2
    BEGIN = 3
    """An activity begins. In the ring that is a wait: the stage has nothing to compute, a bubble begins."""
    END = 4
    """The activity has ended."""
    SCHEDULE_CHANGED = 5
    """Another schedule or other shapes: what was observed so far says nothing any more."""


_KINDS: Final = frozenset(EventKind)
# An attribute of an enumeration costs a call, and a writer has no time for any.
_BEGIN: Final = EventKind.BEGIN
_END: Final = EventKind.END
_URGENT: Final = frozenset({EventKind.STEP_END, EventKind.SCHEDULE_CHANGED})
"""What the squeezer is always woken for, beside the begin of a bubble that it wants: that one has ended a worker sees
by itself, and the rest can wait. A wake costs the run more than everything else here."""


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Units: `stamp_ns` is of the machine's monotonic clock.
    """

    kind: EventKind
    stamp_ns: int
    schedule_index: int = 0
    """Place in the stage's schedule, the same in every step."""
    step: int = 0
    wait: int = 0
    """Number of the stage's wait: odd while it waits, even while it computes."""


class EventWriter:
    """The hook's end of the ring."""

    __slots__ = ("_head", "_page", "_wait", "_words")

    def __init__(self, page: SharedPage) -> None:
        self._page = page
        # Quicker than the page's own view: what happens here is time of the pipeline run.
        self._words = memoryview(page.words).cast("B").cast("Q")
        self._head = 0
        self._wait = 0

    @classmethod
    def create(cls, path: Path) -> EventWriter:
        """Makes an empty ring."""
        return cls(SharedPage.create(path, magic=MAGIC, word_count=_WORD_COUNT))

    @property
    def path(self) -> Path:
        """File of the ring."""
        return self._page.path

    def write(
        self, kind: EventKind, stamp_ns: int, schedule_index: int = 0, step: int = 0, activity: object = None
    ) -> None:
        """Appends an event, or drops and counts it when the ring is full. Never waits. All activities are bubbles."""
        words, head, is_urgent = self._words, self._head, False
        if kind is _BEGIN:
            words[_WAIT] = self._wait = (self._wait + 1) | 1
            is_urgent = words[_WANTED + (schedule_index >> 6) % _WANTED_WORDS] >> (schedule_index & 63) & 1 == 1
        elif kind is _END:
            words[_WAIT_ENDED] = stamp_ns
            words[_WAIT] = self._wait = (self._wait | 1) + 1
        else:
            is_urgent = kind in _URGENT
        if head - words[_TAIL] >= CAPACITY:
            words[_DROPPED] += 1
            return
        at = _FIRST_RECORD + head % CAPACITY * _RECORD_WORDS
        words[at], words[at + 1], words[at + 2], words[at + 3] = kind, stamp_ns, schedule_index, step
        words[at + 4] = self._wait
        # The record stands before the head that shows it.
        words[_HEAD] = self._head = head + 1
        if is_urgent:
            self._page.wake(_HEAD)

    @property
    def gates_opened(self) -> int:
        """How often the squeezer opened the gate in this stage's bubbles."""
        return self._words[_OPENED]

    @property
    def used_ns(self) -> int:
        """Nanoseconds that trials worked in this stage's bubbles."""
        return self._words[_USED]

    def consumer_age_ns(self) -> int | None:
        """Gives how long ago a squeezer last read; None when none ever did."""
        beat = self._words[_CONSUMER_BEAT]
        return time.monotonic_ns() - beat if beat else None

    def close(self) -> None:
        """Takes the ring's file away."""
        self._page.unlink()


class EventReader:
    """The squeezer's end of the ring."""

    def __init__(self, page: SharedPage) -> None:
        self._page = page
        self._words = page.words
        self._identity = secrets.randbits(63) | 1
        self._words[_CONSUMER] = self._identity
        # What an earlier reader left says nothing about the bubbles of now.
        self._tail = self._words[_HEAD]
        self._words[_TAIL] = self._tail
        self.want(())
        self.beat()

    @classmethod
    def attach(cls, path: Path) -> EventReader:
        """Reads on from the newest event; an older reader of the same ring finds itself replaced.

        Raises:
            PageRejected: the file is not a ring of this layout and boot.
        """
        return cls(SharedPage.attach(path, magic=MAGIC, word_count=_WORD_COUNT))

    @property
    def is_replaced(self) -> bool:
        """Another reader has attached since."""
        return self._words[_CONSUMER] != self._identity

    @property
    def dropped(self) -> int:
        """Events that the hook dropped because the ring was full."""
        return self._words[_DROPPED]

    def read(self, timeout_ns: int) -> Iterator[Event]:
        """Gives what has arrived, after a sleep of at most `timeout_ns` when that is nothing.

        Raises:
            PageRejected: the ring is damaged.
        """
        if self._words[_HEAD] == self._tail:
            self._page.wait(_HEAD, self._tail, timeout_ns)
        self.beat()
        if not 0 <= self._words[_HEAD] - self._tail <= CAPACITY:
            raise PageRejected(f"event ring {self._page.path} has head {self._words[_HEAD]} after tail {self._tail}")
        while self._tail < self._words[_HEAD]:
            yield self._next()

    def _next(self) -> Event:
        words = self._words
        at = _FIRST_RECORD + self._tail % CAPACITY * _RECORD_WORDS
        if words[at] not in _KINDS:
            raise PageRejected(f"event ring {self._page.path} has an event of kind {words[at]}, which is none")
        event = Event(EventKind(words[at]), words[at + 1], words[at + 2], words[at + 3], words[at + 4])
        self._tail += 1
        words[_TAIL] = self._tail
        return event

    @property
    def wait(self) -> int:
        """Number of the wait that the stage is in now."""
        return self._words[_WAIT]

    @property
    def name(self) -> str:
        """File name of the ring."""
        return self._page.path.name

    def beat(self) -> None:
        """Tells the hook that the squeezer lives."""
        self._words[_CONSUMER_BEAT] = time.monotonic_ns()

    def want(self, schedule_indices: Iterable[int]) -> None:
        """Asks to be woken when a bubble of one of these schedule indices begins; of others `read` hears later."""
        if self.is_replaced:
            return
        wanted = [0] * _WANTED_WORDS
        for index in schedule_indices:
            wanted[(index >> 6) % _WANTED_WORDS] |= 1 << (index & 63)
        for offset, bits in enumerate(wanted):
            self._words[_WANTED + offset] = bits

    def publish(self, gates_opened: int, used_ns: int) -> None:
        """Tells the hook what was done in its bubbles so far."""
        self._words[_OPENED] = gates_opened
        self._words[_USED] = used_ns


class StageWait:
    """A worker's view of the stage in whose bubbles it works."""

    def __init__(self, page: SharedPage) -> None:
        self._words = page.words

    @classmethod
    def attach(cls, path: Path) -> StageWait:
        """Maps the stage's ring.

        Raises:
            PageRejected: the file is not a ring of this layout and boot.
        """
        return cls(SharedPage.attach(path, magic=MAGIC, word_count=_WORD_COUNT))

    @property
    def number(self) -> int:
        """Odd while the stage waits; another number at each change."""
        return self._words[_WAIT]

    @property
    def ended_ns(self) -> int:
        """When the latest wait ended."""
        return self._words[_WAIT_ENDED]
