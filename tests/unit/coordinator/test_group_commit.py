"""One commit in flight, and what becomes of decisions whose commit fails."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from hydro.coordinator.hot import group_commit
from hydro.coordinator.hot.group_commit import GroupCommit, NotStored
from hydro.coordinator.hot.hot_study import HotStudy
from hydro.coordinator.hot.outcome import Outcome
from hydro.coordinator.names import StudyName
from hydro.coordinator.pruning_rules import MedianPruning
from hydro.coordinator.search.prefetch import Suggestion
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.storage.driven_storage import ClaimedStudy, Committed
from hydro.coordinator.study import Goal, Objective, Sampler, Study, StudySpec, StudyState
from hydro.coordinator.trial import Measurement, TrialState
from hydro.kit.errors import ResourceExhausted, Unavailable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SPEC = StudySpec(
    None, SearchSpace((Parameter("lr", FloatDomain(0, 1)),)), Objective("loss", Goal.MINIMIZE), Sampler.RANDOM,
    MedianPruning(1), 0, 1.0, 100, 50, 0,
)  # fmt: skip


class Writer:
    """Stores when it is let, and remembers what; the tests say which studies are stale and what fails."""

    def __init__(self) -> None:
        self.written: list[dict[str, int]] = []
        self.may_go = asyncio.Event()
        self.may_go.set()
        self.stale: set[str] = set()
        self.fault: Exception | None = None
        self.poison = ""

    async def write(self, changes):
        assert self.may_go is not None
        await self.may_go.wait()
        if self.fault is not None:
            raise self.fault
        if self.poison in {each.study.study for each in changes}:
            raise ValueError("no such character")
        self.written.append({each.study.study: len(each.started) + len(each.measured) for each in changes})
        fresh = [each.study for each in changes if each.study.study not in self.stale]
        return {study: Committed(len(self.written), NOW) for study in fresh}


def hot_study(name: str = "a") -> HotStudy:
    study = Study(StudyName("p", name), SPEC, StudyState.SEARCHING, "", (), None, None, 1, 1, "uid", 0, NOW, None)
    return HotStudy(ClaimedStudy(study, 1, [], []))


@pytest.fixture
def writer():
    return Writer()


@pytest.fixture
def commit(writer):
    return GroupCommit(writer, max_waiting=8)


def start(commit, hot, count=1):
    return hot.start([Suggestion({"lr": 0.5})] * count, "", commit.changes(hot))


async def test_an_answer_follows_its_commit(commit, writer):
    hot = hot_study()
    writer.may_go.clear()
    (number,) = start(commit, hot)
    stored = asyncio.create_task(commit.stored(hot))
    await asyncio.sleep(0.01)
    assert not stored.done() and hot.open(number) is None
    writer.may_go.set()
    await stored
    trial = hot.open(number)
    assert trial is not None and (trial.create_time, trial.revision) == (NOW, 1)


async def test_what_arrives_during_a_commit_makes_the_next_one(commit, writer):
    first, second = hot_study("a"), hot_study("b")
    writer.may_go.clear()
    start(commit, first)
    waiting = [asyncio.create_task(commit.stored(first))]
    await asyncio.sleep(0.01)
    for hot in (first, second, first):
        start(commit, hot)
        waiting.append(asyncio.create_task(commit.stored(hot)))
    await asyncio.sleep(0)
    writer.may_go.set()
    await asyncio.gather(*waiting)
    assert writer.written == [{"a": 1}, {"a": 2, "b": 1}]


async def test_a_commit_waits_a_moment_for_the_callers_that_the_last_one_answered(commit, writer):
    hot = hot_study()

    async def call():
        start(commit, hot)
        await commit.stored(hot)

    await asyncio.gather(call(), call(), call())
    first = asyncio.create_task(call())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert writer.written == [{"a": 3}]
    await asyncio.gather(first, call(), call())
    assert writer.written == [{"a": 3}, {"a": 3}]
    # The others do not come again: who comes alone is answered all the same.
    await call()
    await call()
    assert writer.written[2:] == [{"a": 1}, {"a": 1}]


async def test_a_commit_stops_waiting_once_nobody_comes_any_more(commit, writer, monkeypatch):
    monkeypatch.setattr(group_commit, "GATHER_SECONDS", 600)
    hot = hot_study()

    async def call():
        start(commit, hot)
        await commit.stored(hot)

    await asyncio.gather(call(), call(), call())
    async with asyncio.timeout(60):
        await asyncio.gather(call(), call())
    assert writer.written == [{"a": 3}, {"a": 2}]


async def test_a_failed_commit_closes_the_study_and_fails_what_was_decided_on_top(commit, writer):
    hot = hot_study()
    writer.may_go.clear()
    writer.fault = Unavailable("gone")
    waiting = []
    for _ in range(2):
        start(commit, hot)
        waiting.append(asyncio.create_task(commit.stored(hot)))
        await asyncio.sleep(0.01)
    writer.may_go.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(each) for each in results] == [NotStored, NotStored]
    assert hot.closed and writer.written == []
    with pytest.raises(NotStored):
        await commit.stored(hot)


async def test_a_stale_study_fails_alone(commit, writer):
    stale, fresh = hot_study("stale"), hot_study("fresh")
    writer.stale = {"stale"}
    for hot in (stale, fresh):
        start(commit, hot)
    results = await asyncio.gather(commit.stored(stale), commit.stored(fresh), return_exceptions=True)
    assert isinstance(results[0], NotStored) and results[1] is None
    assert stale.closed and not fresh.closed


async def test_rows_that_the_database_refuses_fail_their_study_alone(commit, writer):
    bad, good = hot_study("bad"), hot_study("good")
    writer.poison = "bad"
    for hot in (bad, good):
        start(commit, hot)
    results = await asyncio.gather(commit.stored(bad), commit.stored(good), return_exceptions=True)
    assert isinstance(results[0], ValueError) and results[1] is None
    assert writer.written == [{"good": 1}]


async def test_a_call_more_than_may_wait_is_refused_and_changes_nothing(commit, writer):
    hot = hot_study()
    writer.may_go.clear()
    waiting = []
    for _ in range(8):
        start(commit, hot)
        waiting.append(asyncio.create_task(commit.stored(hot)))
        await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted) as caught:
        start(commit, hot)
    assert caught.value.retry_seconds is not None
    writer.may_go.set()
    await asyncio.gather(*waiting)
    assert hot.next_trial == 8
    start(commit, hot)
    await commit.stored(hot)


async def test_a_caller_that_gives_up_leaves_the_others_their_answers(commit, writer):
    hot = hot_study()
    writer.may_go.clear()
    start(commit, hot, 2)
    gives_up, waits = (asyncio.create_task(commit.stored(hot)) for _ in range(2))
    await asyncio.sleep(0)
    gives_up.cancel()
    writer.may_go.set()
    await waits
    assert gives_up.cancelled() and hot.open(0) is not None and hot.open(1) is not None


async def test_a_call_that_changes_nothing_writes_nothing_but_waits_for_what_it_saw(commit, writer):
    hot = hot_study()
    (number,) = start(commit, hot)
    await commit.stored(hot)
    measurement = Measurement(1, {"loss": 0.5})
    writer.may_go.clear()
    waiting = []
    for _ in range(3):
        trial = hot.open(number)
        assert trial is not None
        assert not hot.measure(trial, measurement, commit.changes(hot))
        waiting.append(asyncio.create_task(commit.stored(hot)))
        await asyncio.sleep(0)
    assert not any(each.done() for each in waiting)
    writer.may_go.set()
    await asyncio.gather(*waiting)
    assert writer.written == [{"a": 1}, {"a": 1}]


async def test_an_ended_trial_is_left_to_the_database_once_it_is_stored(commit):
    hot = hot_study()
    (number,) = start(commit, hot)
    await commit.stored(hot)
    trial = hot.open(number)
    assert trial is not None
    hot.complete(trial, Outcome(value=0.25), commit.changes(hot))
    assert hot.open(number) is trial
    await commit.stored(hot)
    told = hot.trial(trial)
    assert (told.state, told.value, told.end_time, told.revision) == (TrialState.SUCCEEDED, 0.25, NOW, 2)
    assert hot.open(number) is None and hot.changes().best_trial == number
