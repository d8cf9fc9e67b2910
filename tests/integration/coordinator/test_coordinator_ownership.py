"""Several coordinators over one database: each study has one owner at a time, and calls to any of them work."""

from __future__ import annotations

import asyncio
import signal
from urllib.parse import urlsplit

import pytest

from hazards.tcp_proxy import DOWN, UP, TcpProxy
from hydro.api.coordinator.v1 import study_pb2, study_service_pb2, trial_pb2
from hydro.kit.errors import FailedPrecondition

from .caller import NAME, Caller, check_history, trials_of

SUCCEEDED = study_pb2.STUDY_STATE_SUCCEEDED


@pytest.fixture
async def start_coordinator(database_url, tuner, tmp_path, make_coordinator):
    processes = []

    async def start(url=database_url):
        folder = tmp_path / str(len(processes))
        folder.mkdir()
        process = make_coordinator(url, tuner.address, folder, OWNERSHIP_SECONDS="2")
        processes.append(process)
        await process.start()
        return process

    yield start
    for process in processes:
        await process.close()


async def test_any_coordinator_answers_for_a_study_that_one_owns(start_coordinator, driven_study):
    first, second = await start_coordinator(), await start_coordinator()
    await second.studies.CreateStudy(driven_study())
    one, other = Caller(first), Caller(second)
    trial = await one.ask("same")
    again = await other.ask("same")
    assert again.name == trial.name
    assert not await other.measure(trial.name, 1, 0.5)
    assert not await one.measure(trial.name, 1, 0.5)
    told = await other.tell(trial.name, 0.25)
    assert (await one.tell(trial.name, 0.25)).etag == told.etag
    with pytest.raises(FailedPrecondition) as caught:
        await other.tell(trial.name, 0.5)
    assert caught.value.reason == "WRONG_STATE"
    assert await other.drive_on_a_stream([0.5, 0.25]) == [False, False]
    await one.ask()
    cancelled = await second.studies.CancelStudy(study_service_pb2.CancelStudyRequest(name=NAME))
    assert dict(cancelled.statistics.trials_by_state) == {"SUCCEEDED": 2, "CANCELLED": 1}
    assert await one.ask() is None
    await second.studies.DeleteStudy(study_service_pb2.DeleteStudyRequest(name=NAME))


async def test_another_coordinator_takes_over_from_a_killed_one_and_loses_nothing(
    start_coordinator, driven_study, wait_until
):
    owner, other = await start_coordinator(), await start_coordinator()
    await owner.studies.CreateStudy(driven_study(max_trials=32, parallelism=8))
    callers = [Caller(owner, other), Caller(owner, other), Caller(other, owner), Caller(other, owner)]
    await callers[0].ask()
    seen: dict[str, trial_pb2.Trial] = {}

    async def watch():
        token = ""
        while True:
            request = study_service_pb2.WatchStudyRequest(name=NAME, resume_token=token)
            async for change in other.studies.WatchStudy(request):
                seen.update({trial.name: trial for trial in change.trials})
                token = change.resume_token

    watching = asyncio.create_task(watch())
    driving = [asyncio.create_task(caller.drive()) for caller in callers]
    while sum(len(caller.told) for caller in callers) < 10:
        await asyncio.sleep(0.05)
    owner.kill(signal.SIGKILL)
    # One trial was asked for and never told.
    await callers[3].tell(callers[0].asked[0], 0.5)
    await asyncio.gather(*driving)
    await wait_until(other, NAME, SUCCEEDED)
    trials = await trials_of(other)
    check_history(callers, trials, 32)
    assert len(trials) == 32 and sum(len(caller.told) for caller in callers) == 32
    async with asyncio.timeout(10):
        while {name: trial.state for name, trial in seen.items()} != {each.name: each.state for each in trials}:
            await asyncio.sleep(0.1)
    watching.cancel()


@pytest.mark.slow
async def test_a_frozen_owner_writes_nothing_once_another_has_taken_over(start_coordinator, driven_study):
    frozen, other = await start_coordinator(), await start_coordinator()
    await frozen.studies.CreateStudy(driven_study())
    zombie, caller = Caller(frozen), Caller(other)
    first, second = await zombie.ask(), await zombie.ask()
    frozen.send(signal.SIGSTOP)
    late = asyncio.create_task(zombie.tell(first.name, 0.75))
    late_measure = asyncio.create_task(zombie.measure(second.name, 1, 0.5))
    await caller.tell(first.name, 0.25)
    third = await caller.ask()
    frozen.send(signal.SIGCONT)
    with pytest.raises(FailedPrecondition):
        await late
    await late_measure
    fourth = await zombie.ask()
    assert len({each.name for each in (first, second, third, fourth)}) == 4
    trials = await trials_of(other)
    check_history([caller, zombie], trials, 16)
    assert {trial.name: trial.value for trial in trials if trial.HasField("value")} == {
        first.name: 0.25, second.name: 0.5
    }  # fmt: skip


@pytest.mark.slow
async def test_workers_go_on_when_the_coordinator_that_allocates_is_killed(
    start_coordinator, make_study_request, working, wait_until, tmp_path
):
    allocates, other = await start_coordinator(), await start_coordinator()
    await other.studies.CreateStudy(make_study_request(tmp_path, max_trials=24))
    # They talk to the one that does not allocate.
    workers = await working(other)
    while not any(worker.acknowledged for worker in workers):
        await asyncio.sleep(0.05)
    allocates.kill(signal.SIGKILL)
    await wait_until(other, NAME, SUCCEEDED)
    trials = await trials_of(other)
    assert len(trials) == 24
    stored = {(trial.name, each.step): each.metrics["loss"] for trial in trials for each in trial.measurements}
    acknowledged = {key: value for worker in workers for key, value in worker.acknowledged.items()}
    assert acknowledged.items() <= stored.items()


@pytest.mark.slow
async def test_a_coordinator_told_to_stop_hands_over_without_a_failed_call(start_coordinator, driven_study, wait_until):
    leaving, other = await start_coordinator(), await start_coordinator()
    await leaving.studies.CreateStudy(driven_study(max_trials=40, parallelism=8))
    callers = [Caller(leaving, other), Caller(other)]
    await callers[0].ask()
    driving = [asyncio.create_task(caller.drive()) for caller in callers]
    while sum(len(caller.told) for caller in callers) < 6:
        await asyncio.sleep(0.05)
    stopped = asyncio.to_thread(leaving.kill, signal.SIGTERM)
    assert await stopped == 0
    await callers[0].tell(callers[0].asked[0], 0.5)
    await asyncio.gather(*driving)
    await wait_until(other, NAME, SUCCEEDED)
    check_history(callers, await trials_of(other), 40)


def nothing_arrives(network):
    network.blackhole(UP)


def no_answer_comes(network):
    network.blackhole(DOWN)


def open_on_one_side(network):
    network.half_open()
    network.refuses = True


@pytest.fixture
async def network():
    """What lies between a coordinator and the database."""
    proxies = []

    async def lay(target):
        proxies.append(TcpProxy(target))
        return proxies[0], await proxies[0].start()

    yield lay
    for proxy in proxies:
        await proxy.close()


async def is_acknowledged(telling):
    """Whether the trial's end was stored. No: it has another one, or nobody has answered."""
    try:
        await asyncio.wait_for(telling, 5)
    except (FailedPrecondition, TimeoutError):
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("cut_off", [nothing_arrives, no_answer_comes, open_on_one_side])
async def test_an_owner_cut_off_from_the_database_is_replaced_and_what_it_writes_late_is_not_stored(
    cut_off, network, postgres_server, database_url, start_coordinator, driven_study, wait_until
):
    line, address = await network(postgres_server.socket)
    database = urlsplit(database_url).path.removeprefix("/")
    owner = await start_coordinator(postgres_server.url(database, address))
    other = await start_coordinator()
    await owner.studies.CreateStudy(driven_study(max_trials=32, parallelism=8))
    callers = [Caller(*pair, call_seconds=2) for pair in ((owner, other), (owner, other), (other, owner))]
    zombie, rival = Caller(owner, call_seconds=60), Caller(other)
    disputed = await zombie.ask()
    driving = [asyncio.create_task(caller.drive()) for caller in callers]
    while sum(len(caller.told) for caller in callers) < 6:
        await asyncio.sleep(0.02)
    cut_off(line)
    late = asyncio.create_task(zombie.tell(disputed.name, 0.75))
    # While the line is dead another one takes the study over, and all the rest is done there.
    async with asyncio.timeout(40):
        await asyncio.gather(*driving)
    early = await is_acknowledged(rival.tell(disputed.name, 0.25))
    line.heal()
    assert await is_acknowledged(late) != early, "of two ends of a trial one counts"
    await wait_until(other, NAME, SUCCEEDED)
    trials = await trials_of(other)
    assert len(trials) == 32
    check_history([*callers, zombie, rival], trials, 32)
    owner.kill()
