"""When the bubbles of a schedule will end, from when they ended."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median_low
from typing import Final

ENOUGH_OBSERVATIONS: Final = 3
WARM_UP: Final = 2
"""Bubbles of an index that do not count, after each change of the schedule: a run that warms up has some of any length,
and a low quantile remembers one for dozens of steps."""


def low_quantile(values: Sequence[int], share: float) -> int:
    """Gives the smallest value that at least `share` of the values do not exceed.

    Raises:
        ValueError: there is no value.
    """
    if not values:
        raise ValueError("values: no value, so no quantile; observe first")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Anchor:
    """The moment before a bubble from which its end can be foretold: the end of the bubble before, or the step's begin.

    Units: nanoseconds of the monotonic clock.
    """

    schedule_index: int | None
    """Of the bubble that ended; None: the step began."""
    at_ns: int


class BubbleForecast:
    """Forecasts the end of each bubble by its index in the schedule, so that a wait left out shifts nothing.

    A low quantile of the history: a bubble forecast too short costs a trial a little time, one too long costs the
    pipeline run. The history is of the times from the bubble's begin to its end, or from the anchor to its end,
    whichever vary less: a peer's message keeps time with the peers, so that a stage that computes slowly once comes
    late to its bubble, which ends when it would have ended anyway.

    Args:
        quantile: share of the past bubbles that may have ended before the forecast.
        window: how many past bubbles of an index count.

    Units: nanoseconds.
    """

    def __init__(self, quantile: float = 0.05, window: int = 64) -> None:
        self._quantile = quantile
        self._window = window
        self._histories: dict[int, _History] = {}
        self._forecasts: dict[int, _Forecast] = {}

    def observe(self, schedule_index: int, begin_ns: int, end_ns: int, anchor: Anchor | None = None) -> None:
        """Records a bubble that has ended, and the anchor that it had."""
        history = self._histories.setdefault(schedule_index, _History(self._window))
        history.seen += 1
        if history.seen <= WARM_UP:
            return
        history.durations.append(end_ns - begin_ns)
        if anchor is not None:
            if anchor.schedule_index != history.anchored_to:
                # Another wait comes before it now.
                history.anchored_to = anchor.schedule_index
                history.intervals.clear()
            history.intervals.append(end_ns - anchor.at_ns)
        self._learn(schedule_index, history)

    def forecast_ns(self, schedule_index: int, begin_ns: int, anchor: Anchor | None = None) -> int | None:
        """Gives how long the bubble that begins will be at least; None, too early to tell: keep the gate closed."""
        known = self._forecasts.get(schedule_index)
        if known is None:
            return None
        if known.interval_ns is None or anchor is None or anchor.schedule_index != known.anchored_to:
            return known.duration_ns
        return max(0, known.interval_ns - (begin_ns - anchor.at_ns))

    def longer_than(self, duration_ns: int) -> Iterator[int]:
        """Gives the schedule indices of the bubbles that are usually forecast to last so long at least."""
        return (index for index, each in self._forecasts.items() if each.usual_ns >= duration_ns)

    def longest_ns(self) -> int:
        """Gives the longest usual forecast of all indices; 0 when there is none."""
        return max((each.usual_ns for each in self._forecasts.values()), default=0)

    def invalidate(self) -> None:
        """Forgets everything: the schedule or the shapes have changed."""
        self._histories.clear()
        self._forecasts.clear()

    def _learn(self, schedule_index: int, history: _History) -> None:
        if len(history.durations) < ENOUGH_OBSERVATIONS:
            return
        duration_ns, spread_ns = self._low_and_spread(history.durations)
        known = _Forecast(duration_ns, duration_ns)
        if len(history.intervals) >= ENOUGH_OBSERVATIONS:
            interval_ns, interval_spread_ns = self._low_and_spread(history.intervals)
            if interval_spread_ns < spread_ns:
                usual_ns = max(0, median_low(history.durations) - interval_spread_ns)
                known = _Forecast(duration_ns, usual_ns, interval_ns, history.anchored_to)
        self._forecasts[schedule_index] = known

    def _low_and_spread(self, values: Sequence[int]) -> tuple[int, int]:
        """The low quantile, and how far below the median it is."""
        low_ns = low_quantile(values, self._quantile)
        return low_ns, median_low(values) - low_ns


@dataclass(slots=True)
class _History:
    """The latest bubbles of one index."""

    window: int
    seen: int = 0
    anchored_to: int | None = None
    durations: deque[int] = field(init=False)
    intervals: deque[int] = field(init=False)
    """From the anchor to the bubble's end."""

    def __post_init__(self) -> None:
        self.durations, self.intervals = deque(maxlen=self.window), deque(maxlen=self.window)


@dataclass(frozen=True, slots=True)
class _Forecast:
    """What is known of one index."""

    duration_ns: int
    usual_ns: int
    """The forecast for a bubble that begins when it usually does."""
    interval_ns: int | None = None
    """From the anchor to the end; None: the duration varies less."""
    anchored_to: int | None = None
