"""Every call of the coordinator's contract that changes something is sent twice at once, and done once."""

from __future__ import annotations

import asyncio
import importlib

import pytest

from hydro.api.coordinator.v1 import device_service_pb2, study_pb2, study_service_pb2, worker_service_pb2
from hydro.api.type.v1 import metric_pb2, search_space_pb2

from .caller import NAME

pytestmark = pytest.mark.slow

TRIAL, GONE = f"{NAME}/trials/0", f"{NAME}/trials/99"
OF_THE_MOMENT = ("searched_seconds", "expire_time", "update_time")
"""What an answer says of the time at which it was given."""
ELSEWHERE = {
    "DriveTrials": "its three calls are these; whole streams that break are in end_to_end/driven",
    "ReportMeasurements": "test_coordinator_process.py: a message sent again gets the same answer",
    "TrainTarget": "test_coordinator_process.py: the same request_id gives the same trial",
}


def methods():
    """All of the coordinator's that are no mere reads."""
    for service in ("study", "device", "worker"):
        descriptor = importlib.import_module(f"hydro.api.coordinator.v1.{service}_service_pb2").DESCRIPTOR
        for each in descriptor.services_by_name.values():
            yield from (
                method.name for method in each.methods if not method.name.startswith(("Get", "List", "Replay", "Watch"))
            )


def settled(message):
    for field, value in message.ListFields():
        if field.name in OF_THE_MOMENT:
            message.ClearField(field.name)
        elif field.message_type is not None and not field.is_repeated:
            settled(value)
    return message


class Twice:
    """Sends each call twice at once, and remembers which."""

    def __init__(self) -> None:
        self.sent: set[str] = set()

    async def __call__(self, stub, method, request):
        self.sent.add(method)
        first, second = await asyncio.gather(*(getattr(stub, method)(request) for _ in range(2)))
        assert settled(first) == settled(second), method
        return first


async def test_every_call_that_changes_something_may_be_sent_twice(
    coordinator, make_worker, make_study_request, driven_study, tmp_path
):
    twice, studies = Twice(), coordinator.studies
    await twice(studies, "CreateStudy", driven_study(max_trials=4))
    suggest = study_service_pb2.SuggestTrialsRequest(parent=NAME, count=2, request_id="ask")
    assert len((await twice(studies, "SuggestTrials", suggest)).trials) == 2
    measurement = metric_pb2.Measurement(step=1, metrics={"loss": 0.5})
    report = study_service_pb2.ReportMeasurementRequest(name=TRIAL, measurement=measurement)
    await twice(studies, "ReportMeasurement", report)
    renewed = study_service_pb2.RenewTrialsRequest(
        parent=NAME, trials=[study_service_pb2.RenewedTrial(name=TRIAL), study_service_pb2.RenewedTrial(name=GONE)]
    )
    assert list((await twice(studies, "RenewTrials", renewed)).lost_trials) == [GONE]
    points = [study_pb2.KnownPoint(hyperparameters={"lr": search_space_pb2.Value(double_value=0.5)})]
    enqueue = study_service_pb2.EnqueueTrialsRequest(name=NAME, known_points=points, request_id="points")
    assert len((await twice(studies, "EnqueueTrials", enqueue)).known_points) == 1
    await twice(studies, "TagStudy", study_service_pb2.TagStudyRequest(name=NAME, tags={"team": "vision"}))
    await twice(studies, "TagTrial", study_service_pb2.TagTrialRequest(name=TRIAL, tags={"good": ""}))
    for method in ("Pause", "Resume"):
        await twice(studies, f"{method}Study", getattr(study_service_pb2, f"{method}StudyRequest")(name=NAME))
    told = await twice(studies, "CompleteTrial", study_service_pb2.CompleteTrialRequest(name=TRIAL, value=0.25))
    assert told.value == 0.25
    cancelled = await twice(studies, "CancelStudy", study_service_pb2.CancelStudyRequest(name=NAME))
    assert dict(cancelled.statistics.trials_by_state) == {"SUCCEEDED": 1, "CANCELLED": 1}
    await of_workers(twice, coordinator, make_worker, make_study_request, tmp_path)
    assert twice.sent | set(ELSEWHERE) | {"DeleteStudy"} == set(methods())


async def of_workers(twice, coordinator, make_worker, make_study_request, tmp_path):
    worker = make_worker(coordinator, "devices/cpu-0")
    device = device_service_pb2.Device(name=worker.device, kind=device_service_pb2.DEVICE_KIND_CPU)
    register = device_service_pb2.RegisterDeviceRequest(device=device, request_id="device")
    await twice(coordinator.devices, "RegisterDevice", register)
    await coordinator.studies.CreateStudy(make_study_request(tmp_path, study_id="trained"))
    acquire = worker_service_pb2.AcquireLeaseRequest(
        device=worker.device, worker="w", request_id="lease", wait_seconds=20
    )
    lease = (await twice(coordinator.workers, "AcquireLease", acquire)).lease
    named = {"lease": lease.name, "fencing_token": lease.fencing_token}
    await twice(coordinator.workers, "RenewLease", worker_service_pb2.RenewLeaseRequest(**named))
    release = worker_service_pb2.ReleaseLeaseRequest(**named)
    releasing = (coordinator.workers.ReleaseLease(release) for _ in range(2))
    answers = await asyncio.gather(*releasing, return_exceptions=True)
    # There is nothing to release a second time: a worker takes that for what it wanted.
    assert [each.reason for each in answers if isinstance(each, Exception)] == ["LEASE_LOST"]
    twice.sent.add("ReleaseLease")
    drained = await twice(coordinator.devices, "DrainDevice", device_service_pb2.DrainDeviceRequest(name=worker.device))
    assert drained.state == device_service_pb2.DEVICE_STATE_DRAINING
