"""Trials judged by how long they have trained, through a coordinator."""

from __future__ import annotations

import pytest

from hydro.api.coordinator.v1 import study_pb2, study_service_pb2
from hydro.api.type.v1 import metric_pb2
from hydro.kit.errors import InvalidArgument

NAME = "projects/p/studies/digits"
BY_TIME = study_pb2.Pruner(
    by_time=study_pb2.TimedPruner(
        rule=study_pb2.Pruner(median=study_pb2.MedianPruner(measurement_interval_steps=1)), interval_seconds=10
    )
)


async def test_driven_trials_are_compared_at_equal_time_also_by_the_next_coordinator(
    coordinator, make_study_request, tmp_path
):
    await coordinator.studies.CreateStudy(make_study_request(tmp_path, task=None, max_steps=8, pruner=BY_TIME))
    await coordinator.studies.SuggestTrials(study_service_pb2.SuggestTrialsRequest(parent=NAME, count=2))

    async def stops(trial, step, loss, seconds):
        measurement = metric_pb2.Measurement(step=step, metrics={"loss": loss}, elapsed_seconds=seconds)
        request = study_service_pb2.ReportMeasurementRequest(name=f"{NAME}/trials/{trial}", measurement=measurement)
        return (await coordinator.studies.ReportMeasurement(request)).should_stop

    for wrong in (-1.0, float("nan")):
        with pytest.raises(InvalidArgument, match="measurement.elapsed_seconds"):
            await stops(0, 1, 0.9, wrong)
    assert not any([await stops(0, step, 1 - step / 5, 10.0 * step) for step in (1, 2, 3)])
    await coordinator.studies.CompleteTrial(study_service_pb2.CompleteTrialRequest(name=f"{NAME}/trials/0", value=0.2))
    assert not await stops(1, 3, 0.7, 15.0)  # worse at this step, better at this time
    coordinator.kill()
    await coordinator.start()
    assert not await stops(1, 3, 0.7, 16.0)  # sent again: its first time stands
    trial = await coordinator.studies.GetTrial(study_service_pb2.GetTrialRequest(name=f"{NAME}/trials/1"))
    assert [each.elapsed_seconds for each in trial.measurements] == [15.0]
    assert await stops(1, 4, 0.69, 30.0)
    study = await coordinator.studies.GetStudy(study_service_pb2.GetStudyRequest(name=NAME))
    assert study.pruner == BY_TIME


async def test_who_says_no_time_is_timed_by_the_coordinator(coordinator, make_study_request, tmp_path):
    await coordinator.studies.CreateStudy(make_study_request(tmp_path, task=None, max_steps=4, pruner=BY_TIME))
    await coordinator.studies.SuggestTrials(study_service_pb2.SuggestTrialsRequest(parent=NAME, count=1))
    for step in (1, 2):
        measurement = metric_pb2.Measurement(step=step, metrics={"loss": 0.5})
        request = study_service_pb2.ReportMeasurementRequest(name=f"{NAME}/trials/0", measurement=measurement)
        await coordinator.studies.ReportMeasurement(request)
    trial = await coordinator.studies.GetTrial(study_service_pb2.GetTrialRequest(name=f"{NAME}/trials/0"))
    first, second = (each.elapsed_seconds for each in trial.measurements)
    assert 0 < first < second < 600
