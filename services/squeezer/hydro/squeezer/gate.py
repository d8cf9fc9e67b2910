"""The gate: what lets a trial's worker run in a bubble, and stops it at the bubble's end.

One shared page per claim of a slot, in HYDRO_GATE_DIRECTORY. The controller opens the gate with a deadline; the worker
launches a segment only when the segment's own 99th percentile fits before it. So a worker stops by itself even when the
controller dies in an open bubble; and by the stage's own wait number it stops even when the bubble ends before its
forecast and the controller has not seen it yet. Errors:

    GateLost                 the slot has gone for this worker: checkpoint, release, acquire another lease
      SegmentDoesNotFit      the bundle's segments are longer than any bubble of the slot
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from hydro.squeezer.events import StageWait
from hydro.squeezer.segment import SegmentDurations
from hydro.squeezer.shared_page import HEADER_WORDS, PageRejected, SharedPage

MAGIC: Final = 0x48594452_4F474154
SUFFIX: Final = ".gate"

# Words the controller writes.
_SEQUENCE, _DEADLINE, _WAIT, _LONGEST, _STATUS, _CONTROLLER_BEAT = range(HEADER_WORDS, HEADER_WORDS + 6)
# Words the worker writes, on another cache line.
_RUNNING, _USED, _SEGMENTS, _LATE, _WORKER_BEAT, _WORKER_PID, _ACK = range(24, 31)
_RING_NAME: Final = 32  # first word of the file name of the stage's event ring
_RING_NAME_WORDS: Final = 32
WORD_COUNT: Final = 64

_POLL_NS: Final = 200_000_000
_BEAT_SECONDS: Final = 0.5


class GateLost(Exception):
    """The gate is no longer this worker's: its claim has ended, its controller is gone, or it is left over."""


class SegmentDoesNotFit(GateLost):
    """A segment takes longer than the slot's longest bubble, or found no bubble for too long."""


class PageStatus(IntEnum):
    """Whether the page may be used."""

    LIVE = 0
    REVOKED = 1
    """The claim has ended: the slot was released, taken over, or has gone."""


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
        page.write_text(_RING_NAME, _RING_NAME_WORDS, ring_name)
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
        words[_WAIT], words[_DEADLINE], words[_LONGEST] = wait, deadline_ns, longest_bubble_ns
        # Odd means open. The deadline stands before the number that shows it.
        words[_SEQUENCE] += 1
        self._page.wake(_SEQUENCE)

    def close(self) -> None:
        """Ends the bubble. The worker is not woken: it would only take the time of who has come back to work."""
        if self._words[_SEQUENCE] % 2:
            self._words[_SEQUENCE] += 1

    def revoke(self) -> None:
        """Ends the claim: the worker finds GateLost at its next segment."""
        self.close()
        self._words[_STATUS] = PageStatus.REVOKED
        # Another value, so that a worker that is about to sleep looks again.
        self._words[_SEQUENCE] += 2
        self._page.wake(_SEQUENCE)
        self._page.unlink()

    def beat(self) -> None:
        """Tells the worker that the controller lives."""
        self._words[_CONTROLLER_BEAT] = time.monotonic_ns()

    @property
    def is_open(self) -> bool:
        """A bubble is on."""
        return self._words[_SEQUENCE] % 2 == 1

    @property
    def is_quiet(self) -> bool:
        """No segment runs: everything the worker launched has ended."""
        return self._words[_RUNNING] == 0

    @property
    def deadline_ns(self) -> int:
        """Of the latest bubble."""
        return self._words[_DEADLINE]

    @property
    def acknowledged(self) -> int:
        """Number of the latest bubble after which the worker reported that it is quiet."""
        return self._words[_ACK]

    @property
    def used_ns(self) -> int:
        """Nanoseconds that segments ran."""
        return self._words[_USED]

    @property
    def late_ns(self) -> int:
        """Nanoseconds that segments ran on after their bubble's end."""
        return self._words[_LATE]

    @property
    def segments(self) -> int:
        """Segments that have ended."""
        return self._words[_SEGMENTS]

    @property
    def worker_pid(self) -> int:
        """Process of the worker; 0 before it has attached."""
        return self._words[_WORKER_PID]

    def worker_has_page(self) -> bool:
        """The worker's process lives and has this page mapped, so its number is not a later process's."""
        return self.worker_pid > 1 and self._page.is_mapped_by(self.worker_pid)

    def worker_silence_ns(self) -> int | None:
        """Gives how long ago the worker last showed itself; None before it has attached."""
        beat = self._words[_WORKER_BEAT]
        return time.monotonic_ns() - beat if beat else None

    def overdue_ns(self) -> int:
        """Gives how long past its deadline a segment still runs; 0 when none does."""
        if not self._words[_RUNNING]:
            return 0
        return max(0, time.monotonic_ns() - self._words[_DEADLINE])


class WorkerGate:
    """The worker's end: `with gate.segment("forward"): ...` runs the block inside a bubble.

    Args:
        page: the mapped page; use `attach`.
        stage: the stage in whose bubbles the worker runs.
        heartbeat_timeout_seconds: the controller counts as gone after this silence.
        patience_seconds: a segment that finds no bubble for so long does not fit.
        synchronize: waits until what a segment launched has ended; on a GPU, the device's synchronize.
    """

    def __init__(
        self,
        page: SharedPage,
        stage: StageWait,
        *,
        heartbeat_timeout_seconds: float = 3.0,
        patience_seconds: float = 60.0,
        synchronize: Callable[[], None] | None = None,
    ) -> None:
        self._page = page
        self._words = page.words
        self._stage = stage
        self._timeout_ns = int(heartbeat_timeout_seconds * 1e9)
        self._patience_ns = int(patience_seconds * 1e9)
        self._synchronize = synchronize
        self._durations = SegmentDurations()
        self._detached = threading.Event()
        self.latest_admission: Admission | None = None
        self._check_alive()
        self._words[_WORKER_PID] = os.getpid()
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
    ) -> WorkerGate:
        """Attaches to the gate that a claim gave.

        Raises:
            GateLost: the page is missing, damaged, revoked, or left over from an earlier life of the controller.
        """
        try:
            page = SharedPage.attach(Path(path), magic=MAGIC, word_count=WORD_COUNT)
            stage = StageWait.attach(page.path.with_name(page.read_text(_RING_NAME, _RING_NAME_WORDS)))
        except PageRejected as error:
            raise GateLost(str(error)) from error
        return cls(
            page,
            stage,
            heartbeat_timeout_seconds=heartbeat_timeout_seconds,
            patience_seconds=patience_seconds,
            synchronize=synchronize,
        )

    @contextmanager
    def segment(self, name: str) -> Iterator[None]:
        """Waits for a bubble in which the segment fits, and runs the block in it.

        Raises:
            GateLost: the slot has gone; nothing of the block has run.
            SegmentDoesNotFit: such segments are longer than the slot's longest bubble.
        """
        admission = self.latest_admission = self._admit(name)
        try:
            yield
            if self._synchronize is not None:
                self._synchronize()
        finally:
            self._finish(name, admission)

    @property
    def used_seconds(self) -> float:
        """Seconds that segments ran."""
        return self._words[_USED] / 1e9

    def detach(self) -> None:
        """Stops the heartbeat. The controller counts the worker as gone."""
        self._detached.set()
        self._heart.join()
        self._words[_WORKER_BEAT] = 0

    def _admit(self, name: str) -> Admission:
        """Waits until the segment may start."""
        words = self._words
        skipped = 0
        began_ns = time.monotonic_ns()
        while True:
            self._check_alive()
            sequence = words[_SEQUENCE]
            if sequence % 2 and (admission := self._admission(name, sequence)) is not None:
                words[_RUNNING] = sequence
                # The bubble may have ended between the look and the mark.
                if words[_SEQUENCE] == sequence and self._stage.number == admission.wait:
                    return admission
                words[_RUNNING] = 0
                continue
            words[_ACK] = sequence
            if time.monotonic_ns() - began_ns > self._patience_ns:
                raise SegmentDoesNotFit(
                    f"no bubble had room for segment {name!r} in {self._patience_ns / 1e9:.0f} s: "
                    "run this bundle elsewhere, or with fewer lanes"
                )
            if sequence % 2 and sequence != skipped:
                skipped = sequence
                self._skip(name)
            self._page.wait(_SEQUENCE, sequence, _POLL_NS)

    def _admission(self, name: str, sequence: int) -> Admission | None:
        words = self._words
        now_ns, deadline_ns, wait = time.monotonic_ns(), words[_DEADLINE], words[_WAIT]
        needed_ns = self._durations.needed_ns(name, words[_LONGEST])
        if wait != self._stage.number or now_ns + needed_ns > deadline_ns:
            return None
        return Admission(sequence, wait, now_ns, deadline_ns)

    def _skip(self, name: str) -> None:
        longest_ns = self._words[_LONGEST]
        typical_ns = self._durations.typical_ns(name)
        if typical_ns is not None and typical_ns > longest_ns:
            raise SegmentDoesNotFit(
                f"segment {name!r} takes {typical_ns / 1e6:.1f} ms, the slot's longest bubble is "
                f"{longest_ns / 1e6:.1f} ms: run this bundle on an exclusive device, or with fewer lanes"
            )
        self._durations.forgive(name, longest_ns)

    def _finish(self, name: str, admission: Admission) -> None:
        words = self._words
        ended_ns = time.monotonic_ns()
        duration_ns = ended_ns - admission.started_ns
        self._durations.add(name, duration_ns)
        words[_USED] += duration_ns
        words[_SEGMENTS] += 1
        if self._stage.number != admission.wait:
            words[_LATE] += min(duration_ns, max(0, ended_ns - self._stage.ended_ns))
        words[_RUNNING] = 0

    def _check_alive(self) -> None:
        words = self._words
        if words[_STATUS] != PageStatus.LIVE:
            raise GateLost(
                f"the claim of gate {self._page.path.name} has ended: released, taken over, or the slot has gone"
            )
        silence_ns = time.monotonic_ns() - words[_CONTROLLER_BEAT]
        if silence_ns > self._timeout_ns:
            raise GateLost(
                f"the controller of gate {self._page.path.name} has been silent for {silence_ns / 1e9:.1f} s: "
                "it is gone, or the page is left over from an earlier life"
            )

    def _beat(self) -> None:
        self._words[_WORKER_BEAT] = time.monotonic_ns()

    def _keep_beating(self) -> None:
        # A claim that has ended needs no heartbeat, even if nobody detaches.
        while not self._detached.wait(_BEAT_SECONDS) and self._words[_STATUS] == PageStatus.LIVE:
            self._beat()
