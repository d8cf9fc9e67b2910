"""Tags, filters, orders, pages, early ends and quotas, through the SDK, on a coordinator of its own."""

from __future__ import annotations

import asyncio

import pytest

from hydro.api.coordinator.v1 import study_service_pb2, study_service_pb2_grpc
from hydro.api.type.v1 import metric_pb2
from hydro.client import Client, StudyState, TrialState, constant, loguniform, minimize, no_pruning, stop_when
from hydro.coordinator.quotas import OPEN_STUDIES_RETRY_SECONDS
from hydro.kit.channel import open_channel
from hydro.kit.errors import InvalidArgument, ResourceExhausted

QUOTAS = """{
    "small": {"open_studies": 1, "trials_per_study": 10, "reports_per_second": 10},
    "fused": {"reports_per_second": 2}
}"""
REPORTS_PER_SECOND = 10


@pytest.fixture
async def coordinator(database_url, tuner, make_coordinator, tmp_path):
    coordinator = make_coordinator(database_url, tuner.address, tmp_path, QUOTAS=QUOTAS)
    await coordinator.start()
    yield coordinator
    await coordinator.close()


@pytest.fixture
def address(coordinator):
    return coordinator.address


def create(client, study_id, **options):
    space = {"lr": loguniform(1e-3, 1)}
    return client.create_study(study_id, search_space=space, objective=minimize("loss"), sampler="random", **options)


async def test_studies_and_trials_are_found_by_tags_states_and_values(address):
    await asyncio.to_thread(check_finding, address)


def check_finding(address):
    with Client(address) as client:
        study = create(client, "tagged", trials=6, parallelism=6, tags={"team": "vision"})
        create(client, "other", tags={"team": "audio"})
        study.tag({"stage": "1"}, remove=["nothing"])
        assert study.snapshot().tags == {"team": "vision", "stage": "1"}
        assert [each.name.study for each in client.list_studies(tags={"team": "vision"})] == ["tagged"]
        assert client.list_studies(states=[StudyState.PAUSED]) == []
        assert [each.name.study for each in client.list_studies()] == ["other", "tagged"]
        check_pages(client)
        with pytest.raises(InvalidArgument, match="Team"):
            study.tag({"Team": "x"})
        for value in (0.3, 0.1, 0.2):
            study.ask().tell(value)
        study.ask().fail("no such file")
        study.get_trial(1).tag({"keep": "yes"})
        best = study.list_trials(best_first=True)
        assert [each.number for each in best] == [1, 2, 0, 3]
        assert [each.number for each in study.list_trials(best_first=True, limit=2)] == [1, 2]
        assert [each.number for each in study.list_trials(states=[TrialState.FAILED])] == [3]
        assert [each.number for each in study.list_trials(tags={"keep": "yes"})] == [1]
        pages = study._coordinator.list_trials
        assert len(list(pages(study.name, limit=3))) == 3


def check_pages(client):
    """A study that is made while pages are read disturbs none of them."""
    request = study_service_pb2.ListStudiesRequest(parent=f"projects/{client.project}", page_size=1)
    found = []
    while request.page_token or not found:
        page = client._coordinator._studies.ListStudies(request)
        found += [each.name.rpartition("/")[2] for each in page.studies]
        request.page_token = page.next_page_token
        if len(found) == 1:
            create(client, "between")
    assert found == ["other", "tagged"]


async def test_a_driven_study_ends_at_its_target_and_its_loops_end_with_it(address):
    await asyncio.to_thread(check_target, address)


def check_target(address):
    with Client(address) as client:
        study = create(client, "target", trials=50, parallelism=4, stopping=stop_when(target_value=0.5))
        open_trial = study.ask()
        study.optimize(lambda trial: 1.0 - 0.1 * trial.number)
        last = study.wait(timeout_seconds=30)
        assert (last.state, last.state_reason.split(":")[0]) == (
            StudyState.SUCCEEDED,
            "the target value 0.5 was reached",
        )
        assert open_trial.refresh().state is TrialState.CANCELLED
        assert last.statistics.searched_seconds > 0


async def test_a_project_gets_no_more_than_its_quota_and_is_told_so(address, coordinator, make_worker, tmp_path):
    trial = await asyncio.to_thread(check_quotas, address)
    refused, stored = await report_at_once(address, trial, 4 * REPORTS_PER_SECOND)
    assert {each.reason for each in refused} == {"QUOTA_EXCEEDED"}
    assert all(0 < each.retry_seconds <= 1 / REPORTS_PER_SECOND for each in refused)
    # What one second allows may come at once; what is refused is not stored.
    assert len(stored) >= REPORTS_PER_SECOND and len(stored) + len(refused) == 4 * REPORTS_PER_SECOND
    await asyncio.to_thread(check_reports, address, stored)
    await check_bundles(address, make_worker(coordinator, "devices/cpu-0"), tmp_path)


def check_quotas(address):
    with Client(address, project="small") as client:
        with pytest.raises(ResourceExhausted, match="trials_per_study is 10"):
            create(client, "large", trials=11)
        study = create(client, "first", trials=10)
        with pytest.raises(ResourceExhausted, match="open_studies is 1") as caught:
            create(client, "second", trials=10)
        assert caught.value.reason == "QUOTA_EXCEEDED" and caught.value.retry_seconds == OPEN_STUDIES_RETRY_SECONDS
        study.cancel()
        return create(client, "second", trials=10).ask().name


async def report_at_once(address, trial, count):
    """The reports that were refused, and the steps of those that were not."""
    channel = open_channel(address, retry_seconds=0)
    send = study_service_pb2_grpc.StudyServiceStub(channel).ReportMeasurement
    requests = [
        study_service_pb2.ReportMeasurementRequest(
            name=str(trial), measurement=metric_pb2.Measurement(step=step, metrics={"loss": 1.0})
        )
        for step in range(count)
    ]
    answers = await asyncio.gather(*map(send, requests), return_exceptions=True)
    await channel.close()
    refused = [each for each in answers if isinstance(each, ResourceExhausted)]
    stored = [step for step, each in enumerate(answers) if not isinstance(each, Exception)]
    return refused, stored


def check_reports(address, stored):
    with Client(address, project="small") as client:
        trial = client.get_study("second").get_trial(0)
        assert [each.step for each in trial.measurements] == stored
        # Nothing is left of the second's quota: what is refused here is sent again, and its caller sees nothing of it.
        more = range(100, 106)
        for step in more:
            trial.report(step, 1.0)
        assert [each.step for each in trial.refresh().measurements] == [*stored, *more]


async def check_bundles(address, worker, folder):
    """Each lane's measurement counts; of a message that is refused nothing is stored."""
    with Client(address, project="fused") as client:
        study = await asyncio.to_thread(create_fused, client, folder)
        await worker.register()
        lease = await worker.acquire(wait_seconds=20)
        first, second = ([worker.lane_report(lane, step) for lane in lease.recipe.lanes] for step in (1, 2))
        assert len(first) == 4
        await worker.report(lease, 1, first)
        with pytest.raises(ResourceExhausted, match="reports_per_second is 2") as caught:
            await worker.report(lease, 2, second)
        assert caught.value.reason == "QUOTA_EXCEEDED" and 0 < caught.value.retry_seconds <= 2
        trials = await asyncio.to_thread(lambda: study.trials)
    assert [[each.step for each in trial.measurements] for trial in trials[:4]] == [[1]] * 4


def create_fused(client, folder):
    (folder / "toytask.py").write_text("raise RuntimeError('nobody imports this in a server')\n")
    return client.create_study(
        "bundle", task="toytask:Toy", source_path=str(folder), objective=minimize("loss"), sampler="random",
        search_space={"lr": loguniform(1e-3, 1), "batch": constant(64)}, pruner=no_pruning(4, interval_steps=1),
        trials=16,
    )  # fmt: skip


async def test_many_watchers_of_one_study_are_given_every_change(address):
    await asyncio.to_thread(check_watchers, address)


def check_watchers(address):
    from concurrent.futures import ThreadPoolExecutor

    def ends(study):
        seen = {}
        for change in study.changes():
            seen |= {each.name.number: each.state for each in change.trials}
        return seen

    with Client(address) as client, ThreadPoolExecutor(12) as pool:
        study = create(client, "watched", trials=20)
        watching = [pool.submit(ends, study) for _ in range(12)]
        study.optimize(lambda trial: 1.0)
        assert all(each.result(30) == dict.fromkeys(range(20), TrialState.SUCCEEDED) for each in watching)
