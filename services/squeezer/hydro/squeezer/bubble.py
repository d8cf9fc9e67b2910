"""How long the bubbles of a schedule will be, from how long they were."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

ENOUGH_OBSERVATIONS: Final = 3


def low_quantile(values: Sequence[int], share: float) -> int:
    """Gives the smallest value that at least `share` of the values do not exceed.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("values: no value, so no quantile; observe first")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class BubbleForecast:
    """Forecasts each bubble by its index in the schedule, not by counting waits, so a skipped wait shifts nothing.

    A low quantile of the history: a bubble forecast too short costs a trial a little time, one too long costs the
    pipeline run.

    Args:
        quantile: share of the past bubbles that may have been shorter than the forecast.
        window: how many past bubbles of an index count.

    Units: nanoseconds.
    """

    def __init__(self, quantile: float = 0.05, window: int = 64) -> None:
        self._quantile = quantile
        self._window = window
        self._history: dict[int, deque[int]] = {}
        self._forecasts: dict[int, int] = {}

    def observe(self, schedule_index: int, duration_ns: int) -> None:
        """Records a bubble that has ended."""
        history = self._history.setdefault(schedule_index, deque(maxlen=self._window))
        history.append(duration_ns)
        if len(history) >= ENOUGH_OBSERVATIONS:
            self._forecasts[schedule_index] = low_quantile(history, self._quantile)

    def forecast_ns(self, schedule_index: int) -> int | None:
        """Gives how long the bubble will be at least; None, too early to tell: keep the gate closed."""
        return self._forecasts.get(schedule_index)

    def longest_ns(self) -> int:
        """Gives the longest forecast of all indices; 0 when there is none."""
        return max(self._forecasts.values(), default=0)

    def invalidate(self) -> None:
        """Forgets everything: the schedule or the shapes have changed."""
        self._history.clear()
        self._forecasts.clear()
