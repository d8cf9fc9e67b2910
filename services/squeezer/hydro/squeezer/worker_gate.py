"""The worker's end of the gate: waits for a bubble in which the next piece of work fits, and runs it there."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hydro.squeezer.events import StageWait
from hydro.squeezer.gate import (
    ACK,
    CONTROLLER_BEAT,
    DEADLINE,
    LATE,
    LONGEST,
    MAGIC,
    MEMORY_ROOM,
    RING_NAME,
    RING_NAME_WORDS,
    RUNNING,
    SEGMENTS,
    SEQUENCE,
    STATUS,
    USED,
    WAIT,
    WORD_COUNT,
    WORKER_BEAT,
    WORKER_PID,
    GateLost,
    Interrupted,
    PageStatus,
    SegmentDoesNotFit,
)
from hydro.squeezer.segment import SegmentDurations
from hydro.squeezer.shared_page import PageRejected, SharedPage

_POLL_NS: Final = 200_000_000
_BEAT_SECONDS: Final = 0.5
_SHORTEST_PART_NS: Final = 200_000
"""A pause sooner after the one before costs more than it is worth."""
_WORTH_DIVIDING_NS: Final = 500_000
_WORTH_DIVIDING_SHARE: Final = 0.5
"""Of the longest bubble: what takes more of it would wait for the whole of one each time."""
_DIVISIBLE: Final = {"forward": ("forward", "backward"), "validation": ("validation",)}
"""By the segment that asks for a pause, those whose length says whether there are any: a backward pauses at the places
that its forward has made."""


@dataclass(frozen=True, slots=True)
class Admission:
    """Leave to run a segment.

    Units: nanoseconds of the monotonic clock.
    """

    sequence: int
    """Number of the opening."""
    wait: int
    """Number of the stage's wait."""
    started_ns: int
    deadline_ns: int


@dataclass(slots=True)
class _Part:
    """What runs: a segment, or its part after one of its pauses."""

    segment: str
    begun_after: int
    """Pauses before it."""
    admission: Admission
    passed: int = 0
    """Pauses so far, those included that were too soon to take."""
    earlier_ns: int = 0
    """How long the segment's earlier parts took."""

    @property
    def name(self) -> str:
        """Parts that begin at the same place take about equally long."""
        return part_name(self.segment, self.begun_after)


def part_name(segment: str, pauses: int) -> str:
    """Gives the name under which durations of a segment's part are kept."""
    return f"{segment}/{pauses}" if pauses else segment


class WorkerGate:
    """The worker's end: `with gate.segment("forward"): ...` runs the block inside a bubble.

    Args:
        page: the mapped page; use `attach`.
        stage: the stage in whose bubbles the worker runs.
        heartbeat_timeout_seconds: the controller counts as gone after this silence.
        patience_seconds: a segment that finds no bubble for so long does not fit.
        synchronize: waits until what a segment launched has ended; on a GPU, the device's synchronize.
        is_interrupted: the worker is to stop; asked while it waits for a bubble.
    """

    def __init__(
        self,
        page: SharedPage,
        stage: StageWait,
        *,
        heartbeat_timeout_seconds: float = 3.0,
        patience_seconds: float = 60.0,
        synchronize: Callable[[], None] | None = None,
        is_interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        self._page = page
        self._words = page.words
        self._stage = stage
        self._timeout_ns = int(heartbeat_timeout_seconds * 1e9)
        self._patience_ns = int(patience_seconds * 1e9)
        self._synchronize = synchronize or (lambda: None)
        self._is_interrupted = is_interrupted
        self._durations = SegmentDurations()
        self._wholes = SegmentDurations()
        self._is_long = {name: True for names in _DIVISIBLE.values() for name in names}
        """What is not known yet counts as long."""
        self._detached = threading.Event()
        self.latest_admission: Admission | None = None
        self._running: _Part | None = None
        self._check_alive()
        self._words[WORKER_PID] = os.getpid()
        self._beat()
        self._heart = threading.Thread(target=self._keep_beating, name="gate-heartbeat", daemon=True)
        self._heart.start()

    @classmethod
    def attach(
        cls,
        path: Path | str,
        *,
        heartbeat_timeout_seconds: float = 3.0,
        patience_seconds: float = 60.0,
        synchronize: Callable[[], None] | None = None,
        is_interrupted: Callable[[], bool] = lambda: False,
    ) -> WorkerGate:
        """Attaches to the gate that a claim gave.

        Raises:
            GateLost: the page is missing, damaged, revoked, or left over from an earlier life of the controller.
        """
        try:
            page = SharedPage.attach(Path(path), magic=MAGIC, word_count=WORD_COUNT)
            stage = StageWait.attach(page.path.with_name(page.read_text(RING_NAME, RING_NAME_WORDS)))
        except PageRejected as error:
            raise GateLost(str(error)) from error
        return cls(
            page,
            stage,
            heartbeat_timeout_seconds=heartbeat_timeout_seconds,
            patience_seconds=patience_seconds,
            synchronize=synchronize,
            is_interrupted=is_interrupted,
        )

    @contextmanager
    def segment(self, name: str) -> Iterator[None]:
        """Waits for a bubble in which the segment fits, and runs the block in it.

        Raises:
            GateLost: the slot has gone; nothing of the block has run.
            SegmentDoesNotFit: such segments are longer than the slot's longest bubble.
            Interrupted: the worker is to stop.
        """
        self._running = _Part(name, 0, self._admit(name))
        try:
            yield
            self._synchronize()
        finally:
            earlier_ns = self._running.earlier_ns if self._running is not None else 0
            self._learn_whole(name, earlier_ns + self._finish())

    @contextmanager
    def bubble(self, name: str, needed_ns: int, is_over: Callable[[], bool] = lambda: False) -> Iterator[Admission]:
        """Waits for a bubble with so much time left, for a block that ends by itself before the deadline.

        Args:
            name: for the messages of errors.
            needed_ns: what has to be left.
            is_over: nobody needs the bubble any more; asked while it waits.

        Raises:
            GateLost, SegmentDoesNotFit: as `segment`.
            Interrupted: the worker is to stop, or it is over.
        """
        admission = self._admit(name, needed_ns, is_over)
        self._running = _Part(name, 0, admission)
        try:
            yield admission
        finally:
            self._finish()

    def is_within(self, admission: Admission) -> bool:
        """The bubble that an admission was for goes on."""
        return self._stage.number == admission.wait and self._words[STATUS] == PageStatus.LIVE

    @property
    def pause(self) -> Callable[[], None] | None:
        """Called between two ops of a forward, backward or validation, whose rest can as well run in a later bubble.

        Ends the part of the segment that runs, and waits for a bubble in which the next one fits. Parts are told apart
        by how many pauses came before, so they have to come in the same order each time. None where whole segments are
        too short for that to pay; outside of segments, where all of them are.

        Raises:
            GateLost, SegmentDoesNotFit, Interrupted: as `segment`; what has run of the block is in vain.
        """
        segment = "" if self._running is None else self._running.segment
        names = _DIVISIBLE.get(segment, self._is_long)
        return self._pause if any(self._is_long[name] for name in names) else None

    def _pause(self) -> None:
        part = self._running
        if part is None:
            return
        part.passed += 1
        if time.monotonic_ns() - part.admission.started_ns < _SHORTEST_PART_NS:
            return
        self._synchronize()
        duration_ns = self._finish()
        # Its name is known before it is let in: that is what says how long it needs.
        name = part_name(part.segment, part.passed)
        self._running = _Part(part.segment, part.passed, self._admit(name), part.passed, part.earlier_ns + duration_ns)

    @property
    def memory_room_bytes(self) -> int:
        """Bytes that the worker may take beside what it holds; below 0: what it should give back; 0: neither."""
        return ctypes.c_int64(self._words[MEMORY_ROOM]).value

    @property
    def used_seconds(self) -> float:
        """Seconds that segments ran."""
        return self._words[USED] / 1e9

    def detach(self) -> None:
        """Stops the heartbeat. The controller counts the worker as gone."""
        self._detached.set()
        self._heart.join()
        self._words[WORKER_BEAT] = 0

    def _admit(self, name: str, needed_ns: int | None = None, is_over: Callable[[], bool] = lambda: False) -> Admission:
        """Waits until the segment may start; how long it needs is known from earlier ones, or given."""
        words = self._words
        skipped = 0
        began_ns = time.monotonic_ns()
        while True:
            self._check_alive()
            if self._is_interrupted() or is_over():
                raise Interrupted(f"the worker was told to stop while segment {name!r} waited for a bubble")
            sequence = words[SEQUENCE]
            if sequence % 2 and (admission := self._admission(name, sequence, needed_ns)) is not None:
                words[RUNNING] = sequence
                # The bubble may have ended between the look and the mark.
                if words[SEQUENCE] == sequence and self._stage.number == admission.wait:
                    self.latest_admission = admission
                    return admission
                words[RUNNING] = 0
                continue
            words[ACK] = sequence
            if time.monotonic_ns() - began_ns > self._patience_ns:
                raise SegmentDoesNotFit(
                    f"no bubble had room for segment {name!r} in {self._patience_ns / 1e9:.0f} s: "
                    "run this bundle elsewhere, or with fewer lanes"
                )
            if needed_ns is None and sequence % 2 and sequence != skipped:
                skipped = sequence
                self._skip(name)
            self._page.wait(SEQUENCE, sequence, _POLL_NS)

    def _admission(self, name: str, sequence: int, needed_ns: int | None) -> Admission | None:
        words = self._words
        now_ns, deadline_ns, wait = time.monotonic_ns(), words[DEADLINE], words[WAIT]
        if needed_ns is None:
            needed_ns = self._durations.needed_ns(name, words[LONGEST])
        if wait != self._stage.number or now_ns + needed_ns > deadline_ns:
            return None
        return Admission(sequence, wait, now_ns, deadline_ns)

    def _skip(self, name: str) -> None:
        longest_ns = self._words[LONGEST]
        typical_ns = self._durations.typical_ns(name)
        if typical_ns is not None and typical_ns > longest_ns:
            raise SegmentDoesNotFit(
                f"segment {name!r} takes {typical_ns / 1e6:.1f} ms, the slot's longest bubble is "
                f"{longest_ns / 1e6:.1f} ms: run this bundle on an exclusive device, or with fewer lanes"
            )
        self._durations.forgive(name, longest_ns)

    def _learn_whole(self, name: str, duration_ns: int) -> None:
        """Keeps whether a segment, all its parts together, is long enough to be divided."""
        if name not in self._is_long:
            return
        self._wholes.add(name, duration_ns)
        typical_ns = self._wholes.typical_ns(name)
        if typical_ns is not None:
            longest_ns = self._words[LONGEST]
            self._is_long[name] = typical_ns > min(_WORTH_DIVIDING_NS, _WORTH_DIVIDING_SHARE * longest_ns)

    def _finish(self) -> int:
        """Accounts for the part that runs, and gives its nanoseconds; none does when a later part was not let in."""
        part, self._running = self._running, None
        if part is None:
            return 0
        words, admission = self._words, part.admission
        ended_ns = time.monotonic_ns()
        duration_ns = ended_ns - admission.started_ns
        self._durations.add(part.name, duration_ns)
        words[USED] += duration_ns
        words[SEGMENTS] += 1
        if self._stage.number != admission.wait:
            words[LATE] += min(duration_ns, max(0, ended_ns - self._stage.ended_ns))
        words[RUNNING] = 0
        return duration_ns

    def _check_alive(self) -> None:
        words = self._words
        if words[STATUS] != PageStatus.LIVE:
            raise GateLost(
                f"the claim of gate {self._page.path.name} has ended: released, taken over, or the slot has gone"
            )
        silence_ns = time.monotonic_ns() - words[CONTROLLER_BEAT]
        if silence_ns > self._timeout_ns:
            raise GateLost(
                f"the controller of gate {self._page.path.name} has been silent for {silence_ns / 1e9:.1f} s: "
                "it is gone, or the page is left over from an earlier life"
            )

    def _beat(self) -> None:
        self._words[WORKER_BEAT] = time.monotonic_ns()

    def _keep_beating(self) -> None:
        # A claim that has ended needs no heartbeat, even if nobody detaches.
        while not self._detached.wait(_BEAT_SECONDS) and self._words[STATUS] == PageStatus.LIVE:
            self._beat()
