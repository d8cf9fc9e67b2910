"""A coordinator that is told to stop answers what it has begun, and begins nothing more."""

import asyncio

import pytest

from hydro.coordinator.hot.hot_studies import HotStudies
from hydro.coordinator.names import StudyName
from hydro.coordinator.ownership.owner import NotOwner
from hydro.kit.clock import SystemClock

STUDY = StudyName("default", "digits")


class SlowStorage:
    """Answers a claim when it is told to."""

    def __init__(self) -> None:
        self.asked, self.answers = asyncio.Event(), asyncio.Event()

    async def claim(self, name, owner):
        self.asked.set()
        await self.answers.wait()
        return


async def undecided(hot):
    raise AssertionError("the study has another owner")


async def test_leaving_waits_for_the_calls_that_were_begun():
    storage = SlowStorage()
    studies = HotStudies(storage, None, SystemClock(), "me", lambda: 1)
    begun = asyncio.create_task(studies.run(STUDY, undecided))
    await storage.asked.wait()
    leaving = asyncio.create_task(studies.leave(patience_seconds=60))
    await asyncio.sleep(0)
    with pytest.raises(NotOwner, match="being stopped"):
        await studies.run(STUDY, undecided)
    assert not leaving.done()
    storage.answers.set()
    with pytest.raises(NotOwner, match="another owner"):
        await begun
    await leaving


async def test_leaving_does_not_wait_for_ever():
    storage = SlowStorage()
    studies = HotStudies(storage, None, SystemClock(), "me", lambda: 1)
    begun = asyncio.create_task(studies.run(STUDY, undecided))
    await storage.asked.wait()
    await studies.leave(patience_seconds=0.01)
    assert not begun.done()
    begun.cancel()
