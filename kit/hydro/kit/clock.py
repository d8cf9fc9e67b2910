"""Time as an argument, so that rules about it are tested without waiting."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from typing import Protocol


class Clock(Protocol):
    """Tells how much time has passed, and waits."""

    def monotonic(self) -> float:
        """Seconds from an unknown start; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Returns when so much time has passed."""


class SystemClock:
    """The machine's own clock."""

    def monotonic(self) -> float:
        """Seconds from an unknown start; never goes back."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Returns when so much time has passed."""
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that stands still until `advance` moves it."""

    def __init__(self) -> None:
        self._now = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []

    def monotonic(self) -> float:
        """Seconds that `advance` has moved it by."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Returns once `advance` has moved the clock so far."""
        woken = asyncio.Event()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), woken))
        await woken.wait()

    def advance(self, seconds: float) -> None:
        """Moves the clock and wakes who has slept long enough."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            heapq.heappop(self._sleepers)[2].set()
