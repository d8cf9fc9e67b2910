"""The coordinator as a process, over the wire, on a real Postgres."""

from __future__ import annotations

import asyncio

import pytest

from hydro.api.coordinator.v1 import study_pb2, study_service_pb2, trial_pb2, worker_service_pb2
from hydro.api.type.v1 import bundle_pb2, metric_pb2, search_space_pb2
from hydro.client import Client
from hydro.kit.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, OutOfRange

SUCCEEDED = study_pb2.STUDY_STATE_SUCCEEDED
NAME = "projects/p/studies/digits"


async def trials_of(coordinator, **filters):
    request = study_service_pb2.ListTrialsRequest(parent=NAME, page_size=5, **filters)
    found = []
    while True:
        page = await coordinator.studies.ListTrials(request)
        found += page.trials
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_a_study_runs_to_its_end(coordinator, working, make_study_request, wait_until, tmp_path):
    workers = await working(coordinator)
    created = await coordinator.studies.CreateStudy(make_study_request(tmp_path))
    assert created.state == study_pb2.STUDY_STATE_PREPARING
    study = await wait_until(coordinator, NAME, SUCCEEDED)
    trials = await trials_of(coordinator)
    assert len(trials) == 16
    by_state = dict(study.statistics.trials_by_state)
    assert sum(by_state.values()) == 16 and set(by_state) == {"SUCCEEDED", "PRUNED"}
    assert by_state["PRUNED"] >= 8
    best = min((each for each in trials if each.state == trial_pb2.TRIAL_STATE_SUCCEEDED), key=lambda each: each.value)
    assert study.best_trial == best.name
    assert list(study.warnings) == ["runs unfused"]
    assert study.task.fingerprint == "sha256:task"
    assert study.statistics.max_fusion_count == max(worker.largest for worker in workers) > 1
    assert study.statistics.trial_steps == sum(trial.steps for trial in trials)
    assert study.statistics.device_seconds > 0 and study.statistics.bundles >= 2
    stored = {(trial.name, each.step): each.metrics["loss"] for trial in trials for each in trial.measurements}
    assert stored == {key: value for worker in workers for key, value in worker.acknowledged.items()}
    told = [name for worker in workers for name in worker.told]
    assert len(told) == len(set(told)) == by_state["SUCCEEDED"]
    with Client(coordinator.address, project="p") as client:
        log = await asyncio.to_thread(lambda: client.get_study("digits").best_trial.log)
    assert log == "step 1\nstep 2\nstep 4\n"


async def test_the_same_request_creates_one_study(coordinator, make_study_request, tmp_path):
    request = make_study_request(tmp_path)
    first = await coordinator.studies.CreateStudy(request)
    assert (await coordinator.studies.CreateStudy(request)).name == first.name
    request.request_id = "another"
    with pytest.raises(AlreadyExists):
        await coordinator.studies.CreateStudy(request)


async def test_everything_wrong_with_a_study_is_named_and_nothing_is_stored(coordinator, make_study_request, tmp_path):
    request = make_study_request(tmp_path, surrogate_width=1.5, max_trials=0, sampler=None, max_steps=0)
    request.study.task.entry_point = "nosuchmodule:Digits"
    request.study.search_space.parameters[0].float_domain.min = 2
    request.study_id = "Digits"
    with pytest.raises(InvalidArgument) as caught:
        await coordinator.studies.CreateStudy(request)
    fields = {each.field for each in caught.value.violations}
    assert {
        "study_id",
        "study.task.entry_point",
        "study.surrogate_width",
        "study.max_trials",
        "study.max_steps",
        "study.sampler",
    } <= fields
    assert any(field.startswith("study.search_space.parameters[0]") for field in fields)
    listed = await coordinator.studies.ListStudies(study_service_pb2.ListStudiesRequest(parent="projects/p"))
    assert list(listed.studies) == []


async def test_a_surrogate_that_fails_fails_its_study(coordinator, tuner, make_study_request, wait_until, tmp_path):
    from hydro.api.tuner.v1 import surrogate_pb2

    tuner.state, tuner.reason = surrogate_pb2.SURROGATE_STATE_FAILED, "digits.py:12: no channel is left"
    await coordinator.studies.CreateStudy(make_study_request(tmp_path))
    study = await wait_until(coordinator, NAME, study_pb2.STUDY_STATE_FAILED)
    assert study.state_reason == "digits.py:12: no channel is left"


async def test_a_killed_coordinator_goes_on_where_it_was(
    coordinator, working, make_study_request, wait_until, tmp_path
):
    workers = await working(coordinator)
    await coordinator.studies.CreateStudy(make_study_request(tmp_path, max_trials=24))
    for _ in range(2):
        await asyncio.sleep(0.7)
        coordinator.kill()
        await coordinator.start()
    study = await wait_until(coordinator, NAME, SUCCEEDED)
    trials = await trials_of(coordinator)
    assert len(trials) == 24 and sum(study.statistics.trials_by_state.values()) == 24
    stored = {(trial.name, each.step): each.metrics["loss"] for trial in trials for each in trial.measurements}
    acknowledged = {key: value for worker in workers for key, value in worker.acknowledged.items()}
    assert acknowledged.items() <= stored.items()
    told = [name for worker in workers for name in worker.told]
    assert len(told) == len(set(told))


async def test_postgres_stopped_at_once_and_restarted_loses_nothing(
    coordinator_on_own_postgres, new_postgres_server, working, make_study_request, wait_until, tmp_path
):
    coordinator = coordinator_on_own_postgres
    workers = await working(coordinator)
    await coordinator.studies.CreateStudy(make_study_request(tmp_path, max_trials=24))
    await asyncio.sleep(0.7)
    await asyncio.to_thread(new_postgres_server.stop)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(new_postgres_server.start)
    await wait_until(coordinator, NAME, SUCCEEDED)
    trials = await trials_of(coordinator)
    assert len(trials) == 24
    stored = {(trial.name, each.step): each.metrics["loss"] for trial in trials for each in trial.measurements}
    acknowledged = {key: value for worker in workers for key, value in worker.acknowledged.items()}
    assert acknowledged.items() <= stored.items()


async def test_a_zombie_past_its_lease_writes_nothing(
    coordinator, make_worker, working, make_study_request, wait_until, tmp_path
):
    zombie = make_worker(coordinator, "devices/zombie")
    await zombie.register()
    await coordinator.studies.CreateStudy(make_study_request(tmp_path))
    lease = await zombie.acquire(wait_seconds=20)
    workers = await working(coordinator)
    study = await wait_until(coordinator, NAME, SUCCEEDED)
    lane = lease.recipe.lanes[0]
    with pytest.raises(FailedPrecondition) as caught:
        await zombie.report(lease, 1, [zombie.lane_report(lane, 1, loss=-100.0)])
    assert caught.value.reason == "LEASE_LOST"
    assert sum(study.statistics.trials_by_state.values()) == 16
    values = [each.value for each in await trials_of(coordinator)]
    assert min(values) > 0
    assert any((lane.trial, 1) in worker.acknowledged for worker in workers)


async def test_a_message_sent_again_gets_the_same_answer(coordinator, make_worker, make_study_request, tmp_path):
    worker = make_worker(coordinator, "devices/cpu-0")
    await worker.register()
    await coordinator.studies.CreateStudy(make_study_request(tmp_path))
    lease = await worker.acquire(wait_seconds=20, request_id="same")
    again = await worker.acquire(wait_seconds=0, request_id="same")
    assert again.name == lease.name and len(again.recipe.lanes) == len(lease.recipe.lanes)
    reports = [worker.lane_report(lane, 1) for lane in lease.recipe.lanes]
    first = await worker.report(lease, 1, reports, 4)
    second = await worker.report(lease, 1, reports, 4)
    assert list(first.verdicts) == list(second.verdicts)
    assert [lane.trial for lane in first.insertions] == [lane.trial for lane in second.insertions]
    study = await coordinator.studies.GetStudy(study_service_pb2.GetStudyRequest(name=NAME))
    assert study.statistics.device_seconds == pytest.approx(0.5)


async def test_what_a_worker_says_of_memory_reaches_the_plans_for_its_device(
    coordinator, tuner, make_worker, make_study_request, tmp_path
):
    worker = make_worker(coordinator, "devices/cpu-0")
    await worker.register()
    await coordinator.studies.CreateStudy(make_study_request(tmp_path))
    lease = await worker.acquire(wait_seconds=20)
    met = bundle_pb2.MemoryMiss(lanes=4, memory_bytes=2**33, refused=True)
    await worker.report(lease, 1, [], memory_misses=[met])
    release = worker_service_pb2.ReleaseLeaseRequest(lease=lease.name, fencing_token=lease.fencing_token)
    await coordinator.workers.ReleaseLease(release)
    assert await worker.acquire(wait_seconds=20) is not None
    first, last = tuner.planned[0], tuner.planned[-1]
    assert [list(device.memory_misses) for device in first.devices] == [[]]
    assert [list(device.memory_misses) for device in last.devices] == [[met]]
    assert {request.max_steps for request in tuner.planned} == {4}
    with pytest.raises(InvalidArgument, match="memory_misses"):
        await worker.report(lease, 2, [], memory_misses=[bundle_pb2.MemoryMiss(lanes=0)])


async def test_metrics_that_are_not_finite_fail_their_trial_alone(
    coordinator, make_worker, make_study_request, tmp_path
):
    worker = make_worker(coordinator, "devices/cpu-0")
    await worker.register()
    none = study_pb2.Pruner(none=study_pb2.NoPruner(measurement_interval_steps=1))
    await coordinator.studies.CreateStudy(make_study_request(tmp_path, pruner=none))
    lease = await worker.acquire(wait_seconds=20)
    lanes = list(lease.recipe.lanes)
    losses = [float("nan"), *[0.5] * (len(lanes) - 1)]
    reports = [worker.lane_report(lane, 1, loss) for lane, loss in zip(lanes, losses, strict=True)]
    answer = await worker.report(lease, 1, reports)
    verdicts = [each.verdict for each in answer.verdicts]
    assert verdicts == [worker_service_pb2.VERDICT_STOP] + [worker_service_pb2.VERDICT_CONTINUE] * (len(lanes) - 1)
    trial = await coordinator.studies.GetTrial(study_service_pb2.GetTrialRequest(name=lanes[0].trial))
    assert trial.state == trial_pb2.TRIAL_STATE_FAILED and "nan" in trial.state_reason


async def test_a_study_whose_trials_all_fail_has_failed(
    coordinator, make_worker, make_study_request, wait_until, tmp_path
):
    worker = make_worker(coordinator, "devices/cpu-0")
    await worker.register()
    await coordinator.studies.CreateStudy(make_study_request(tmp_path, max_trials=2))
    for _ in range(8):
        lease = await worker.acquire(wait_seconds=2)
        if lease is None:
            break
        await coordinator.workers.ReleaseLease(
            worker_service_pb2.ReleaseLeaseRequest(
                lease=lease.name, fencing_token=lease.fencing_token, failure="ValueError: bad data"
            )
        )
    study = await wait_until(coordinator, NAME, study_pb2.STUDY_STATE_FAILED)
    assert "ValueError: bad data" in study.state_reason


async def test_a_changed_task_ends_the_study(coordinator, make_worker, make_study_request, wait_until, tmp_path):
    worker = make_worker(coordinator, "devices/cpu-0")
    await worker.register()
    await coordinator.studies.CreateStudy(make_study_request(tmp_path))
    lease = await worker.acquire(wait_seconds=20)
    await coordinator.workers.ReleaseLease(
        worker_service_pb2.ReleaseLeaseRequest(
            lease=lease.name, fencing_token=lease.fencing_token, failure="other source", failure_reason="TASK_CHANGED"
        )
    )
    study = await wait_until(coordinator, NAME, study_pb2.STUDY_STATE_FAILED)
    assert study.state_reason == "TASK_CHANGED: other source"


async def test_targets_are_trained_alone_with_transferred_or_default_hyperparameters(
    coordinator, working, make_study_request, wait_until, tmp_path
):
    await coordinator.studies.CreateStudy(make_study_request(tmp_path))
    with pytest.raises(FailedPrecondition):
        await coordinator.studies.TrainTarget(study_service_pb2.TrainTargetRequest(name=NAME))
    await working(coordinator)
    study = await wait_until(coordinator, NAME, SUCCEEDED)
    transferred = await coordinator.studies.TrainTarget(
        study_service_pb2.TrainTargetRequest(name=NAME, seed=5, request_id="once")
    )
    again = await coordinator.studies.TrainTarget(
        study_service_pb2.TrainTargetRequest(name=NAME, seed=5, request_id="once")
    )
    assert again.name == transferred.name and transferred.seed == 5
    await coordinator.studies.TrainTarget(study_service_pb2.TrainTargetRequest(name=NAME, defaults=True))
    larger = study_service_pb2.TrainTargetRequest(name=NAME, batch_ratio=4)
    batched = await coordinator.studies.TrainTarget(larger)
    assert batched.hyperparameters["lr"].double_value == 4 * transferred.hyperparameters["lr"].double_value
    with pytest.raises(InvalidArgument, match="excludes batch_ratio"):
        await coordinator.studies.TrainTarget(
            study_service_pb2.TrainTargetRequest(name=NAME, defaults=True, batch_ratio=4)
        )
    wrong = study_service_pb2.TrainTargetRequest(
        name=NAME, hyperparameters={"lr": search_space_pb2.Value(double_value=5.0)}
    )
    with pytest.raises(InvalidArgument):
        await coordinator.studies.TrainTarget(wrong)
    rate = search_space_pb2.Value(double_value=5.0)
    out_of_domain = study_service_pb2.TrainTargetRequest(name=NAME, target_hyperparameters={"lr": rate})
    with pytest.raises(InvalidArgument, match="target_hyperparameters"):
        await coordinator.studies.TrainTarget(out_of_domain)
    async with asyncio.timeout(30):
        while True:
            targets = await trials_of(coordinator, kind=trial_pb2.TRIAL_KIND_TARGET)
            if all(trial.state == trial_pb2.TRIAL_STATE_SUCCEEDED for trial in targets):
                break
            await asyncio.sleep(0.1)
    best = await coordinator.studies.GetTrial(study_service_pb2.GetTrialRequest(name=study.best_trial))
    expected = [dict(best.hyperparameters), {}, dict(batched.hyperparameters)]
    assert [dict(trial.hyperparameters) for trial in targets] == expected
    after = await coordinator.studies.GetStudy(study_service_pb2.GetStudyRequest(name=NAME))
    # A sum of rows in another order.
    assert after.statistics.device_seconds == pytest.approx(study.statistics.device_seconds)
    after.statistics.device_seconds = study.statistics.device_seconds
    assert after.statistics == study.statistics and after.best_trial == study.best_trial


async def test_a_paused_study_gives_its_leases_back_and_goes_on_later(
    coordinator, working, make_study_request, wait_until, tmp_path
):
    await coordinator.studies.CreateStudy(make_study_request(tmp_path, max_trials=40))
    await wait_until(coordinator, NAME, study_pb2.STUDY_STATE_SEARCHING)
    await working(coordinator)
    await asyncio.sleep(0.3)
    paused = await coordinator.studies.PauseStudy(study_service_pb2.PauseStudyRequest(name=NAME))
    assert paused.state == study_pb2.STUDY_STATE_PAUSED
    again = await coordinator.studies.PauseStudy(study_service_pb2.PauseStudyRequest(name=NAME, etag="old"))
    assert again.etag == paused.etag
    async with asyncio.timeout(20):
        while True:
            study = await coordinator.studies.GetStudy(study_service_pb2.GetStudyRequest(name=NAME))
            if "RUNNING" not in study.statistics.trials_by_state:
                break
            await asyncio.sleep(0.05)
    await coordinator.studies.ResumeStudy(study_service_pb2.ResumeStudyRequest(name=NAME))
    done = await wait_until(coordinator, NAME, SUCCEEDED)
    assert sum(done.statistics.trials_by_state.values()) == 40


async def test_a_cancelled_study_ends_its_trials_and_can_be_deleted(
    coordinator, make_worker, make_study_request, tmp_path
):
    worker = make_worker(coordinator, "devices/cpu-0")
    await worker.register()
    await coordinator.studies.CreateStudy(make_study_request(tmp_path))
    lease = await worker.acquire(wait_seconds=20)
    with pytest.raises(FailedPrecondition):
        await coordinator.studies.DeleteStudy(study_service_pb2.DeleteStudyRequest(name=NAME))
    cancelled = await coordinator.studies.CancelStudy(study_service_pb2.CancelStudyRequest(name=NAME))
    assert set(cancelled.statistics.trials_by_state) == {"CANCELLED"}
    answer = await worker.report(lease, 1, [worker.lane_report(lane, 1) for lane in lease.recipe.lanes])
    assert answer.release_requested
    assert {each.verdict for each in answer.verdicts} == {worker_service_pb2.VERDICT_STOP}
    await coordinator.studies.DeleteStudy(study_service_pb2.DeleteStudyRequest(name=NAME))
    with pytest.raises(NotFound):
        await coordinator.studies.GetStudy(study_service_pb2.GetStudyRequest(name=NAME))
    with pytest.raises(FailedPrecondition):
        await worker.report(lease, 2, [])


async def test_a_watch_resumes_without_a_gap(coordinator, working, make_study_request, tmp_path):
    created = await coordinator.studies.CreateStudy(make_study_request(tmp_path))
    seen: dict[str, trial_pb2.Trial] = {}
    token, state = "", created.state
    await working(coordinator)
    async with asyncio.timeout(60):
        while state != SUCCEEDED:
            request = study_service_pb2.WatchStudyRequest(name=NAME, resume_token=token)
            count = 0
            # Every stream is left after two answers and taken up again.
            async for change in coordinator.studies.WatchStudy(request):
                seen.update({trial.name: trial for trial in change.trials})
                token, state, count = change.resume_token, change.study.state, count + 1
                if count == 2 or state == SUCCEEDED:
                    break
    listed = {trial.name: trial for trial in await trials_of(coordinator)}
    assert {name: trial.state for name, trial in seen.items()} == {name: trial.state for name, trial in listed.items()}
    assert {name: trial.value for name, trial in seen.items()} == {name: trial.value for name, trial in listed.items()}
    with pytest.raises(InvalidArgument):
        async for _ in coordinator.studies.WatchStudy(study_service_pb2.WatchStudyRequest(name=NAME, resume_token="?")):
            pass
    await coordinator.studies.DeleteStudy(study_service_pb2.DeleteStudyRequest(name=NAME))
    await coordinator.studies.CreateStudy(make_study_request(tmp_path))
    with pytest.raises(OutOfRange):
        async for _ in coordinator.studies.WatchStudy(
            study_service_pb2.WatchStudyRequest(name=NAME, resume_token=token)
        ):
            pass


async def test_a_caller_drives_a_study_by_ask_and_tell(coordinator, make_study_request, wait_until, tmp_path):
    median = study_pb2.Pruner(
        median=study_pb2.MedianPruner(measurement_interval_steps=1, warmup_steps=0, startup_trials=1)
    )
    request = make_study_request(tmp_path, task=None, max_trials=3, parallelism=2, max_steps=0, pruner=median)
    study = await coordinator.studies.CreateStudy(request)
    assert study.state == study_pb2.STUDY_STATE_SEARCHING

    async def suggest(count, request_id=""):
        asked = study_service_pb2.SuggestTrialsRequest(parent=NAME, count=count, request_id=request_id)
        return list((await coordinator.studies.SuggestTrials(asked)).trials)

    async def report(trial, step, loss):
        measurement = metric_pb2.Measurement(step=step, metrics={"loss": loss})
        asked = study_service_pb2.ReportMeasurementRequest(name=trial.name, measurement=measurement)
        return (await coordinator.studies.ReportMeasurement(asked)).should_stop

    async def complete(trial, **outcome):
        return await coordinator.studies.CompleteTrial(
            study_service_pb2.CompleteTrialRequest(name=trial.name, **outcome)
        )

    first, second = await suggest(5, "ask")
    assert [trial.name for trial in await suggest(5, "ask")] == [first.name, second.name]
    assert await suggest(1) == []
    assert not await report(first, 1, 0.25)
    assert not await report(first, 1, 0.25)
    with pytest.raises(AlreadyExists) as caught:
        await report(first, 1, 0.5)
    assert caught.value.reason == "VALUE_CONFLICT"
    told = await complete(first, value=0.125)
    assert told.state == trial_pb2.TRIAL_STATE_SUCCEEDED and told.value == 0.125
    assert await report(second, 1, 0.75)
    assert (await complete(second, pruned=True)).state == trial_pb2.TRIAL_STATE_PRUNED
    assert (await complete(first, value=0.125)).etag == told.etag
    with pytest.raises(FailedPrecondition):
        await complete(first, value=0.5)
    (third,) = await suggest(5)
    failed = await complete(third, value=float("inf"))
    assert failed.state == trial_pb2.TRIAL_STATE_FAILED
    study = await wait_until(coordinator, NAME, SUCCEEDED)
    assert study.best_trial == first.name
