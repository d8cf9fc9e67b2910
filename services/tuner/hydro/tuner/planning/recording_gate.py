"""A gate that is always open and notes how long each segment takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import quantiles

Clock = Callable[[], float]
"""Tells seconds that only grow."""


class RecordingGate:
    """Records the seconds of the segments of each name."""

    pause: Callable[[], None] | None = None
    """A profile is of whole segments: what an exclusive device runs."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._seconds: defaultdict[str, list[float]] = defaultdict(list)

    @contextmanager
    def segment(self, name: str) -> Iterator[None]:
        """Opens at once; see `hydro.tuner.training.gate.Gate`."""
        start = self.clock()
        yield
        self._seconds[name].append(self.clock() - start)

    def forget(self) -> None:
        """Drops what was recorded: warm-up, and other bundles."""
        self._seconds.clear()

    def longest_segment_seconds(self) -> float:
        """Gives the 99th percentile of the segments whose name has the largest one; 0 when there was none."""
        return max((_percentile_99(seconds) for seconds in self._seconds.values()), default=0.0)


def _percentile_99(seconds: list[float]) -> float:
    if len(seconds) < 2:
        return max(seconds, default=0.0)
    return quantiles(seconds, n=100, method="inclusive")[-1]
