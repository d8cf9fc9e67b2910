"""The laws in the docstring of the port of driven trials, on a real Postgres."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import replace

import asyncpg
import pytest

from hydro.coordinator.hot.group_commit import GroupCommit
from hydro.coordinator.hot.hot_studies import HotStudies
from hydro.coordinator.hot.outcome import Outcome
from hydro.coordinator.names import StudyName
from hydro.coordinator.pruning_rules import MedianPruning
from hydro.coordinator.search.prefetch import Suggestion
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.stopping import Endurance
from hydro.coordinator.storage.driven_storage import DrivenTrial, StudyChanges, TimedRun, TrialChange
from hydro.coordinator.storage.postgres_driven import PostgresDriven
from hydro.coordinator.storage.trial_values import Measured, NewRetry
from hydro.coordinator.study import Goal, Objective, Sampler, StudySpec, StudyState, Task
from hydro.coordinator.trial import CANCEL_TRIAL, RETURN_TRIAL, Measurement, TrialState, Verdict
from hydro.kit.clock import SystemClock
from hydro.kit.errors import FailedPrecondition, NotFound, Unavailable

STUDY, OTHER = StudyName("p", "one"), StudyName("p", "other")
SPEC = StudySpec(
    None, SearchSpace((Parameter("lr", FloatDomain(0, 1)),)), Objective("loss", Goal.MINIMIZE), Sampler.RANDOM,
    MedianPruning(1, startup_trials=2), 0, 1.0, 1000, 50, 0,
)  # fmt: skip


@pytest.fixture
async def storage(storage):
    for name in (STUDY, OTHER):
        await storage.run(lambda tx, name=name: tx.studies.insert(name, SPEC, StudyState.SEARCHING))
    return storage


@pytest.fixture
async def driven(database_url, storage):
    driven = PostgresDriven(database_url)
    yield driven
    await driven.close()


async def add_coordinator(database_url, name, seconds):
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO coordinator VALUES ($1, '', clock_timestamp() + make_interval(secs => $2))", name, seconds
    )
    await connection.close()


def changes(study, epoch, *, next_trial=0, started=(), measured=(), changed=()):
    trials = {each.number: each for each in changed}
    return StudyChanges(study, epoch, next_trial, None, list(started), list(measured), trials)


def trials(count, request_id="r"):
    return [DrivenTrial(number, {"lr": 0.5}, number, request_id) for number in range(count)]


async def test_what_is_written_is_claimed_again(storage, driven):
    claimed = await driven.claim(STUDY, "me")
    await driven.write([changes(STUDY, claimed.epoch, next_trial=3, started=trials(3))])
    measured = [
        Measured(0, Measurement(2, {"loss": 0.5, "nan": float("inf")}), 0.5, Verdict.CONTINUE),
        Measured(0, Measurement(1, {"loss": 0.75}), 0.75, Verdict.CONTINUE),
        Measured(1, Measurement(1, {"loss": 0.25}), 0.25, Verdict.PRUNE),
    ]
    changed = [
        TrialChange(0, TrialState.RUNNING, "", 0.5, 2),
        TrialChange(1, TrialState.FAILED, "a\x00b", 0.25, 1),
    ]
    wrote = await driven.write([changes(STUDY, claimed.epoch, next_trial=3, measured=measured, changed=changed)])
    again = await driven.claim(STUDY, "me")
    assert [each.started for each in again.trials] == trials(3)
    assert [each.state for each in again.trials] == [TrialState.RUNNING, TrialState.FAILED, TrialState.RUNNING]
    assert [each.measured for each in again.trials] == [((1, 0.75), (2, 0.5)), ((1, 0.25),), ()]
    assert [(each.value, each.steps) for each in again.trials] == [(0.5, 2), (0.25, 1), (None, 0)]
    assert sorted(again.standing, key=lambda each: each.measurement.step) == [measured[1], measured[0]]
    assert (again.epoch, again.study.next_trial, again.study.revision) == (2, 3, wrote[STUDY].revision)
    listed = await storage.run(lambda tx: tx.trials.all(STUDY))
    assert [trial.revision for trial in listed] == [wrote[STUDY].revision] * 2 + [wrote[STUDY].revision - 1]
    assert listed[1].end_time == wrote[STUDY].time and listed[1].state_reason == "ab"


async def test_a_stale_epoch_is_left_out_alone(storage, driven):
    old, other = await driven.claim(STUDY, "me"), await driven.claim(OTHER, "me")
    await driven.claim(STUDY, "me")
    batch = [changes(each.study.name, each.epoch, next_trial=1, started=trials(1)) for each in (old, other)]
    assert set(await driven.write(batch)) == {OTHER}
    assert await storage.run(lambda tx: tx.trials.all(STUDY)) == []
    assert len(await storage.run(lambda tx: tx.trials.all(OTHER))) == 1


async def test_a_study_whose_trials_do_not_run_as_its_owner_believes_is_not_called_stored(storage, driven):
    claimed = await driven.claim(STUDY, "me")
    change = TrialChange(7, TrialState.SUCCEEDED, "", 0.5, 1)
    assert await driven.write([changes(STUDY, claimed.epoch, changed=[change])]) == {}


async def test_a_study_is_not_taken_from_a_coordinator_that_lives(database_url, driven):
    await add_coordinator(database_url, "alive", 60)
    await add_coordinator(database_url, "dead", -1)
    assert (await driven.claim(STUDY, "alive")).epoch == 1
    assert await driven.holds(STUDY, 1) and not await driven.holds(OTHER, 1)
    assert (await driven.claim(OTHER, "dead")).epoch == 1
    assert await driven.claim(STUDY, "me") is None
    assert (await driven.claim(OTHER, "me")).epoch == 2


async def test_who_takes_a_study_over_waits_for_a_write_on_its_way(storage, driven):
    writing, may_end = asyncio.Event(), asyncio.Event()

    async def slow(tx):
        await tx.studies.lock(STUDY)
        writing.set()
        await may_end.wait()

    task = asyncio.create_task(storage.run(slow))
    await writing.wait()
    claim = asyncio.create_task(driven.claim(STUDY, "me"))
    await asyncio.sleep(0.1)
    assert not claim.done()
    may_end.set()
    await task
    assert (await claim).epoch == 1


async def test_only_studies_without_a_task_are_claimed(storage, driven):
    spec = replace(SPEC, task=Task("a:B"))
    await storage.run(lambda tx: tx.studies.insert(StudyName("p", "task"), spec, StudyState.PREPARING))
    with pytest.raises(FailedPrecondition, match="by workers"):
        await driven.claim(StudyName("p", "task"), "me")
    with pytest.raises(NotFound):
        await driven.claim(StudyName("p", "none"), "me")


async def test_a_broken_connection_is_made_again(database_url, storage, driven):
    claimed = await driven.claim(STUDY, "me")
    write = changes(STUDY, claimed.epoch, next_trial=1, started=trials(1))
    await driven.write([write])
    connection = await asyncpg.connect(database_url)
    await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    await connection.close()
    # Where the break was noticed before, there is nothing to refuse.
    with contextlib.suppress(Unavailable):
        await driven.write([changes(STUDY, claimed.epoch, next_trial=1)])
    assert set(await driven.write([changes(STUDY, claimed.epoch, next_trial=1)])) == {STUDY}


async def test_a_study_read_again_decides_as_if_it_had_stayed_in_memory(storage, driven):
    commit = GroupCommit(driven)
    hot = HotStudies(driven, commit, SystemClock(), "me")
    verdicts: dict[StudyName, list[object]] = {STUDY: [], OTHER: []}
    dice = random.Random(0)

    async def start(study):
        numbers = study.start([Suggestion({"lr": 0.5})], "", commit.changes(study))
        await commit.stored(study)
        return numbers[0]

    async def measure(study, number, step, value):
        trial = study.open(number)
        if trial is None:
            return "ended"
        stop = study.measure(trial, Measurement(step, {"loss": value}), commit.changes(study))
        await commit.stored(study)
        return stop

    async def complete(study, number, outcome):
        trial = study.open(number)
        if trial is not None:
            study.complete(trial, outcome, commit.changes(study))
            await commit.stored(study)
        return (study.changes().best_trial, study.room)

    for _ in range(25):
        values = [dice.choice((dice.random(), dice.random(), float("nan"))) for _ in range(4)]
        outcome = dice.choice((Outcome(value=dice.random()), Outcome(), Outcome(failure="it failed")))
        for name in (STUDY, OTHER):
            number = await hot.run(name, start)
            for step, value in enumerate(values, 1):
                if name == OTHER and dice.random() < 0.3:
                    async with hot.exclusive(OTHER):
                        pass
                arguments = (number, step, value)
                verdicts[name].append(await hot.run(name, lambda study, given=arguments: measure(study, *given)))
            verdicts[name].append(await hot.run(name, lambda study, given=(number, outcome): complete(study, *given)))
    assert verdicts[STUDY] == verdicts[OTHER]
    assert True in verdicts[STUDY] and False in verdicts[STUDY]


async def test_what_an_owner_has_in_memory_is_asked_about_after_a_gap_in_its_membership(storage, driven):
    commit, term = GroupCommit(driven), [1]
    hot = HotStudies(driven, commit, SystemClock(), "me", lambda: term[0])

    async def epoch(study):
        return study.epoch

    assert [await hot.run(STUDY, epoch), await hot.run(STUDY, epoch)] == [1, 1]
    term[0] = 2
    assert await hot.run(STUDY, epoch) == 1
    await driven.claim(STUDY, "me")
    # In the same term nobody else can have come.
    assert await hot.run(STUDY, epoch) == 1
    for term[0] in (None, 3):
        assert await hot.run(STUDY, epoch) == 3


async def test_names_of_studies_that_there_are_not_leave_nothing_behind(storage, driven):
    hot = HotStudies(driven, GroupCommit(driven), SystemClock(), "me")
    for number in range(3):
        with pytest.raises(NotFound):
            await hot.run(StudyName("p", f"none-{number}"), lambda study: asyncio.sleep(0))
    assert len(hot._gates) == 0


async def lose(tx, number, owner="me"):
    study = await tx.studies.own(STUDY, owner)
    await tx.trials.note_retry(STUDY, number, NewRetry("its caller was lost", 0, 1), failures=1, lane_limit=0)
    await tx.trials.move(study.name, [number], RETURN_TRIAL)


async def test_a_trial_that_is_given_again_answers_the_request_it_is_given_to(storage, driven):
    claimed = await driven.claim(STUDY, "me")
    await driven.write([changes(STUDY, claimed.epoch, next_trial=2, started=trials(2))])
    measured = Measured(0, Measurement(1, {"loss": 0.5}), 0.5, Verdict.CONTINUE)
    await driven.write([changes(STUDY, claimed.epoch, next_trial=2, measured=[measured])])
    await storage.run(lambda tx: lose(tx, 0))
    waiting = await driven.claim(STUDY, "me")
    assert [(each.state, each.lost_runs) for each in waiting.trials] == [
        (TrialState.PENDING, 1),
        (TrialState.RUNNING, 0),
    ]
    assert [each.reason for each in waiting.trials[0].retries] == ["its caller was lost"]
    assert list(waiting.standing) == [measured]
    again = TrialChange(0, TrialState.RUNNING, "", 0.5, 1, request_id="again")
    assert await driven.write([changes(STUDY, waiting.epoch, next_trial=2, changed=[again])])
    found = (await driven.claim(STUDY, "me")).trials
    assert [(each.state, each.started.request_id) for each in found] == [
        (TrialState.RUNNING, "again"),
        (TrialState.RUNNING, "r"),
    ]
    assert (await storage.run(lambda tx: tx.trials.get(STUDY.trial(0)))).end_time is None


async def test_studies_with_a_timeout_are_looked_after_by_their_owner_or_when_it_is_dead_by_anybody(
    database_url, storage, driven
):
    timed = StudyName("p", "timed")
    spec = replace(SPEC, endurance=Endurance(trial_timeout_seconds=5))
    await storage.run(lambda tx: tx.studies.insert(timed, spec, StudyState.SEARCHING))
    await add_coordinator(database_url, "owner", 60)

    async def found(owner):
        return await storage.run(lambda tx: tx.studies.timed(owner))

    run = TimedRun(timed, 0, 0, 5.0)

    for name in (timed, STUDY):
        claimed = await driven.claim(name, "owner")
        assert await found("owner") == ([] if name == timed else [run])
        await driven.write([changes(name, claimed.epoch, next_trial=1, started=trials(1))])
        assert await found("owner") == [run] and await found("other") == []
    await storage.run(lambda tx: tx.coordinators.leave("owner"))
    assert await found("other") == [run]
    await storage.run(lambda tx: tx.trials.move(timed, [0], CANCEL_TRIAL))
    assert await found("other") == []
