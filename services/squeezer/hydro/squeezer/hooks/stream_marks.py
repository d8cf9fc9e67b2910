"""Times of points on a CUDA stream: an event is recorded there, and a thread sees when the device has reached it.

On a GPU the host runs ahead: a receive returns at once, and it is the stream that waits. So a bubble lies between two
events on the compute stream, whatever the host does meanwhile, and a wait inside NCCL is told from computing by them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Final, Protocol

import structlog
import torch

from hydro.squeezer.events import EventKind
from hydro.squeezer.hooks.stage_hook import Deliver, Event

_log = structlog.get_logger()

CAPACITY: Final = 4096
_POLL_SECONDS: Final = 50e-6
_IDLE_SECONDS: Final = 5e-3
_CLOSE_SECONDS: Final = 1.0


class StreamEvent(Protocol):
    """A recorded point of a stream, as torch.cuda.Event is one."""

    def query(self) -> bool:
        """The device has reached it."""

    def elapsed_time(self, end_event: StreamEvent) -> float:
        """Milliseconds from this point to the other."""


class Stream(Protocol):
    """Where points are recorded."""

    def record(self) -> StreamEvent:
        """Records a point behind all that was launched so far."""


class CudaStream:
    """The stream on which the calling thread computes."""

    def record(self) -> StreamEvent:
        """Records an event on the current stream."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event  # type: ignore[return-value]


class StreamMarks:
    """Marks on a stream, seen by a thread that looks for the oldest one.

    A step's begin is stamped when the thread sees it; the others by the device's own clock from there, so that they
    are exact to microseconds however late the thread looks. When too many are outstanding, new ones are dropped and
    counted.

    Args:
        stream: where points are recorded; one clock for all of them.
    """

    def __init__(self, stream: Stream | None = None) -> None:
        self._stream = stream or CudaStream()
        self._outstanding: deque[tuple[StreamEvent, Deliver, Event]] = deque()
        self._anchor: tuple[StreamEvent, int] | None = None
        self._closed = threading.Event()
        self.dropped = 0
        self._thread = threading.Thread(target=self._watch, name="stream-marks", daemon=True)
        self._thread.start()

    def mark(self, deliver: Deliver, event: Event) -> None:
        """Records a point; delivers once the device has reached it."""
        if len(self._outstanding) >= CAPACITY:
            self.dropped += 1
            return
        self._outstanding.append((self._stream.record(), deliver, event))

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_SECONDS)

    def _watch(self) -> None:
        try:
            while not self._closed.is_set():
                if not self._deliver_reached():
                    time.sleep(_POLL_SECONDS if self._outstanding else _IDLE_SECONDS)
        except Exception as error:  # noqa: BLE001 - the run goes on, whatever breaks in its hook
            _log.warning("stream marks ended", error=repr(error))

    def _deliver_reached(self) -> bool:
        """Delivers the oldest point if the device has reached it."""
        if not self._outstanding or not self._outstanding[0][0].query():
            return False
        reached, deliver, event = self._outstanding.popleft()
        deliver(self._stamp_ns(reached, event[0]), event)
        return True

    def _stamp_ns(self, reached: StreamEvent, kind: EventKind) -> int:
        if self._anchor is None or kind is EventKind.STEP_BEGIN:
            self._anchor = reached, time.monotonic_ns()
            return self._anchor[1]
        anchor, anchor_ns = self._anchor
        return anchor_ns + int(anchor.elapsed_time(reached) * 1e6)
