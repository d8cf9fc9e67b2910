"""A gate that is always open and notes how long each part takes that runs undivided on a slot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median, quantiles

Clock = Callable[[], float]
"""Tells seconds that only grow."""


class RecordingGate:
    """The gate of an exclusive device, and while it records that of a slot: segments pause where they can.

    Args:
        clock: Tells the seconds.
        synchronize: Waits until what was launched has ended; a worker on a slot does so at each part's end.
    """

    def __init__(self, clock: Clock, synchronize: Callable[[], None] = lambda: None) -> None:
        self.clock = clock
        self._synchronize = synchronize
        self._is_recording = False
        self._seconds: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        """By the segment's name and the number of pauses before the part."""
        self._part = ("", 0)
        self._started = 0.0

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Records from here on; what was recorded before is forgotten."""
        self._seconds.clear()
        self._is_recording = True
        try:
            yield
        finally:
            self._is_recording = False

    @contextmanager
    def segment(self, name: str) -> Iterator[None]:
        """Opens at once; see `hydro.tuner.training.gate.Gate`."""
        self._begin((name, 0))
        yield
        self._end()

    @property
    def pause(self) -> Callable[[], None] | None:
        """Ends a part and begins the next one."""
        return self._pause if self._is_recording else None

    def longest_part_seconds(self) -> float:
        """Gives the 99th percentile of the part that typically takes longest; 0 when nothing was recorded.

        Of that part alone: of all the parts there are, some always met a busy machine.
        """
        return _percentile_99(max(self._seconds.values(), key=median, default=[]))

    def _pause(self) -> None:
        self._end()
        name, pauses = self._part
        self._begin((name, pauses + 1))

    def _begin(self, part: tuple[str, int]) -> None:
        self._part = part
        self._started = self.clock()

    def _end(self) -> None:
        if self._is_recording:
            self._synchronize()
            self._seconds[self._part].append(self.clock() - self._started)


def _percentile_99(seconds: list[float]) -> float:
    if len(seconds) < 2:
        return max(seconds, default=0.0)
    return quantiles(seconds, n=100, method="inclusive")[-1]
