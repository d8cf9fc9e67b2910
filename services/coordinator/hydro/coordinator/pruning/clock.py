"""By what trials are compared: their optimizer steps, or the time that they have trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[int, float], int]
"""From a measurement's step and elapsed seconds to its place on the scale of a rule."""

END = 2**62
"""Beyond every interval: the place of a trial that was trained to the end, where rungs go by time."""


def by_steps(step: int, seconds: float) -> int:
    """The step itself."""
    return step


@dataclass(frozen=True, slots=True)
class Intervals:
    """Counts whole intervals of time. From `last_step` on it gives END; 0: nothing does."""

    seconds: float
    last_step: int = 0

    def __call__(self, step: int, seconds: float) -> int:
        """The intervals that are over."""
        return END if 0 < self.last_step <= step else int(seconds // self.seconds)
