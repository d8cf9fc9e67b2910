"""Trials that their caller drives on a stream."""

from __future__ import annotations

import pytest

from hydro.api.coordinator.v1 import study_pb2, study_service_pb2
from hydro.api.type.v1 import metric_pb2
from hydro.kit.errors import AlreadyExists, InvalidArgument

NAME = "projects/p/studies/digits"


async def test_an_error_on_a_stream_of_driven_trials_ends_it_and_leaves_what_was_answered(
    coordinator, make_study_request, tmp_path
):
    none = study_pb2.Pruner(none=study_pb2.NoPruner())
    await coordinator.studies.CreateStudy(make_study_request(tmp_path, task=None, max_steps=0, pruner=none))

    def report(step, loss):
        measurement = metric_pb2.Measurement(step=step, metrics={"loss": loss})
        request = study_service_pb2.ReportMeasurementRequest(name=f"{NAME}/trials/0", measurement=measurement)
        return study_service_pb2.DriveTrialsRequest(report=request)

    async def requests():
        suggest = study_service_pb2.SuggestTrialsRequest(parent=NAME, count=1)
        yield study_service_pb2.DriveTrialsRequest(suggest=suggest)
        for each in (report(1, 0.5), report(1, 0.5), report(1, 0.25), report(2, 0.5)):
            yield each

    answered = []
    with pytest.raises(AlreadyExists) as caught:
        async for answer in coordinator.studies.DriveTrials(requests()):
            answered.append(answer.WhichOneof("answer"))
    assert caught.value.reason == "VALUE_CONFLICT"
    assert answered == ["suggested", "reported", "reported"]
    trial = await coordinator.studies.GetTrial(study_service_pb2.GetTrialRequest(name=f"{NAME}/trials/0"))
    assert [(each.step, each.metrics["loss"]) for each in trial.measurements] == [(1, 0.5)]

    async def nothing():
        yield study_service_pb2.DriveTrialsRequest()

    with pytest.raises(InvalidArgument):
        async for _ in coordinator.studies.DriveTrials(nothing()):
            pass
