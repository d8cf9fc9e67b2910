"""What a coordinator may believe of its own row."""

from __future__ import annotations

import pytest

from hydro.coordinator.ownership.membership import Membership
from hydro.kit.clock import ManualClock
from hydro.kit.errors import Unavailable


class Rows:
    """A storage whose transactions only take time, or fail."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.seconds = 0.0
        self.fails = False

    async def run(self, work):
        self._clock.advance(self.seconds)
        if self.fails:
            raise Unavailable("gone")

    async def close(self) -> None:
        pass


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def rows(clock):
    return Rows(clock)


@pytest.fixture
def membership(rows, clock):
    return Membership(rows, clock, "me", "here", seconds=5.0)


async def test_nothing_is_known_before_the_first_renewal(membership):
    assert membership.term is None
    await membership.join()
    assert membership.term == 1


async def test_a_term_lasts_as_long_as_renewals_come_in_time(membership, clock):
    await membership.join()
    for _ in range(3):
        clock.advance(4.0)
        await membership.renew()
    assert membership.term == 1
    clock.advance(5.0)
    assert membership.term is None
    await membership.renew()
    assert membership.term == 2


async def test_a_renewal_counts_from_when_it_was_sent(membership, rows, clock):
    rows.seconds = 4.0
    await membership.renew()
    clock.advance(1.5)
    assert membership.term is None


async def test_a_renewal_that_fails_does_not_count(membership, rows, clock):
    await membership.join()
    rows.fails = True
    clock.advance(4.0)
    with pytest.raises(Unavailable):
        await membership.renew()
    clock.advance(2.0)
    assert membership.term is None


async def test_who_leaves_knows_nothing_any_more_whatever_the_database_says(membership, rows):
    await membership.join()
    rows.fails = True
    await membership.leave()
    assert membership.term is None
