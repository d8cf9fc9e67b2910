"""How long a worker's segments take: what must be left of a bubble before one may start."""

from __future__ import annotations

from collections import deque
from statistics import median
from typing import Final

_WINDOW: Final = 100
_ENOUGH: Final = 5
_UNKNOWN_SHARE: Final = 0.75
_FORGIVENESS: Final = 0.95


class SegmentDurations:
    """Durations by the segment's name.

    Units: nanoseconds.
    """

    def __init__(self) -> None:
        self._recent: dict[str, deque[int]] = {}
        self._needed: dict[str, int] = {}

    def add(self, name: str, duration_ns: int) -> None:
        """Records how long a segment took."""
        recent = self._recent.setdefault(name, deque(maxlen=_WINDOW))
        recent.append(duration_ns)
        self._needed[name] = _high_quantile(recent)

    def needed_ns(self, name: str, longest_bubble_ns: int) -> int:
        """Gives what must be left before the deadline: the 99th percentile; most of the longest bubble when unknown."""
        needed = self._needed.get(name)
        return int(longest_bubble_ns * _UNKNOWN_SHARE) if needed is None else needed

    def typical_ns(self, name: str) -> int | None:
        """Gives the median; None until there are enough observations to trust it."""
        recent = self._recent.get(name, ())
        return int(median(recent)) if len(recent) >= _ENOUGH else None

    def forgive(self, name: str, longest_bubble_ns: int) -> None:
        """Lets an outlier fade at a bubble too short for it: else a single hiccup would bar every bubble for good."""
        needed = self._needed.get(name)
        if needed is not None and needed > longest_bubble_ns * _UNKNOWN_SHARE:
            faded = int(needed * _FORGIVENESS)
            # In the record too: else the next observation would bring it back in full.
            self._recent[name] = deque((min(each, faded) for each in self._recent[name]), maxlen=_WINDOW)
            self._needed[name] = faded


def _high_quantile(values: deque[int]) -> int:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
