"""The pace of the reconcile loop, on a clock that tells what it was asked to wait."""

import asyncio

import pytest

from hydro.coordinator.bell import Bell
from hydro.coordinator.reconcile.loop import LONGEST_CALM_SECONDS, PAUSE_SECONDS, reconcile


class PacedClock:
    def __init__(self):
        self.now, self.pauses = 0.0, []

    def monotonic(self):
        return self.now

    async def sleep(self, seconds):
        self.pauses.append(seconds)
        raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("round_seconds", "pause_seconds"), [(0.001, PAUSE_SECONDS), (0.05, 0.2), (2.0, LONGEST_CALM_SECONDS)]
)
async def test_a_longer_round_is_followed_by_a_longer_pause(round_seconds, pause_seconds):
    clock = PacedClock()

    async def work():
        clock.now += round_seconds

    with pytest.raises(asyncio.CancelledError):
        await reconcile({"work": work}, Bell(), clock)
    assert clock.pauses == [pytest.approx(pause_seconds)]
