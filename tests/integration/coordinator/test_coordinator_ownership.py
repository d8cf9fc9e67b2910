"""Several coordinators over one database: each study has one owner at a time, and calls to any of them work."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import uuid

import pytest

from hydro.api.coordinator.v1 import study_pb2, study_service_pb2, trial_pb2
from hydro.api.type.v1 import metric_pb2
from hydro.kit.errors import FailedPrecondition, Unavailable

NAME = "projects/p/studies/digits"
SUCCEEDED = study_pb2.STUDY_STATE_SUCCEEDED
MEDIAN = study_pb2.Pruner(median=study_pb2.MedianPruner(measurement_interval_steps=1, startup_trials=4))


class Caller:
    """Drives trials through some coordinators in turn; what was acknowledged is its history."""

    def __init__(self, *coordinators) -> None:
        self.coordinators = list(coordinators)
        self.asked: list[str] = []
        self.measured: dict[tuple[str, int], float] = {}
        self.told: dict[str, float | None] = {}

    async def call(self, method, request):
        """Sends the call until it is answered, now to one coordinator, now to the next."""
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(Unavailable):
                    return await getattr(self.coordinators[0].studies, method)(request, timeout=20)
                self.coordinators.append(self.coordinators.pop(0))

    async def ask(self, request_id: str = ""):
        request = study_service_pb2.SuggestTrialsRequest(
            parent=NAME, count=1, request_id=request_id or uuid.uuid4().hex
        )
        trials = (await self.call("SuggestTrials", request)).trials
        self.asked += [trial.name for trial in trials]
        return trials[0] if trials else None

    async def measure(self, name: str, step: int, loss: float) -> bool:
        measurement = metric_pb2.Measurement(step=step, metrics={"loss": loss})
        request = study_service_pb2.ReportMeasurementRequest(name=name, measurement=measurement)
        answer = await self.call("ReportMeasurement", request)
        self.measured[name, step] = loss
        return answer.should_stop

    async def tell(self, name: str, value: float | None):
        outcome = {"pruned": True} if value is None else {"value": value}
        told = await self.call("CompleteTrial", study_service_pb2.CompleteTrialRequest(name=name, **outcome))
        self.told[name] = value
        return told

    async def drive_on_a_stream(self, losses) -> list[bool]:
        """One trial on one stream: each request is sent when the one before is answered."""
        answers: asyncio.Queue[study_service_pb2.DriveTrialsResponse] = asyncio.Queue()
        stops = []

        async def requests():
            suggest = study_service_pb2.SuggestTrialsRequest(parent=NAME, count=1, request_id=uuid.uuid4().hex)
            yield study_service_pb2.DriveTrialsRequest(suggest=suggest)
            (trial,) = (await answers.get()).suggested.trials
            for step, loss in enumerate(losses, 1):
                measurement = metric_pb2.Measurement(step=step, metrics={"loss": loss})
                report = study_service_pb2.ReportMeasurementRequest(name=trial.name, measurement=measurement)
                yield study_service_pb2.DriveTrialsRequest(report=report)
                stops.append((await answers.get()).reported.should_stop)
            complete = study_service_pb2.CompleteTrialRequest(name=trial.name, value=losses[-1])
            yield study_service_pb2.DriveTrialsRequest(complete=complete)
            told = (await answers.get()).completed
            assert told.state == trial_pb2.TRIAL_STATE_SUCCEEDED and told.value == losses[-1]

        async for answer in self.coordinators[0].studies.DriveTrials(requests()):
            answers.put_nowait(answer)
        return stops

    async def drive(self) -> None:
        """Asks, measures and tells until the study gives no further trial."""
        while (trial := await self.ask()) is not None:
            loss, stop = trial.hyperparameters["lr"].double_value, False
            for step in range(1, 5):
                stop = stop or await self.measure(trial.name, step, loss + 1 / step)
            await self.tell(trial.name, None if stop else loss)


@pytest.fixture
async def start_coordinator(database_url, tuner, tmp_path, make_coordinator):
    processes = []

    async def start():
        folder = tmp_path / str(len(processes))
        folder.mkdir()
        process = make_coordinator(database_url, tuner.address, folder, OWNERSHIP_SECONDS="2")
        processes.append(process)
        await process.start()
        return process

    yield start
    for process in processes:
        await process.close()


@pytest.fixture
def driven_study(make_study_request, tmp_path):
    def request(**changes):
        return make_study_request(tmp_path, **{"task": None, "pruner": MEDIAN, "max_steps": 0} | changes)

    return request


async def trials_of(coordinator):
    request = study_service_pb2.ListTrialsRequest(parent=NAME, page_size=1000)
    return list((await coordinator.studies.ListTrials(request)).trials)


def check_history(callers, trials, limit):
    """Nothing acknowledged is lost, no trial was given or told twice, the limit holds."""
    asked = [name for caller in callers for name in caller.asked]
    assert len(asked) == len(set(asked)) and len(trials) <= limit
    stored = {trial.name: trial for trial in trials}
    measured = {(trial.name, each.step): each.metrics["loss"] for trial in trials for each in trial.measurements}
    for caller in callers:
        assert caller.measured.items() <= measured.items()
        for name, value in caller.told.items():
            state = trial_pb2.TRIAL_STATE_PRUNED if value is None else trial_pb2.TRIAL_STATE_SUCCEEDED
            assert stored[name].state == state and (value is None or stored[name].value == value)


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
