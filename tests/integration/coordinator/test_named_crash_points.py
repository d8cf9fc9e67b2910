"""The coordinator is killed before and after a commit, before and after its answers: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import sys
import uuid
from pathlib import Path

import pytest

from hydro.api.coordinator.v1 import study_service_pb2, trial_pb2
from hydro.api.type.v1 import metric_pb2
from hydro.kit.errors import DeadlineExceeded, Unavailable

from .crashing_coordinator import POINTS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NAME = "projects/p/studies/digits"
PROGRAM = Path(__file__).with_name("crashing_coordinator.py")


async def call(method, request):
    """The very same call until it is answered."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await method(request, timeout=5)
            except (Unavailable, DeadlineExceeded):
                await asyncio.sleep(0.05)


TRIALS = 60
"""So many that commits go on for long after the one that is killed."""


async def drive(studies, told: dict[str, float], asked: list[str]) -> None:
    while len(told) < TRIALS:
        request = study_service_pb2.SuggestTrialsRequest(parent=NAME, count=1, request_id=uuid.uuid4().hex)
        trials = (await call(studies.SuggestTrials, request)).trials
        if not trials:
            return
        asked.append(trials[0].name)
        measurement = metric_pb2.Measurement(step=1, metrics={"loss": len(told)})
        report = study_service_pb2.ReportMeasurementRequest(name=trials[0].name, measurement=measurement)
        await call(studies.ReportMeasurement, report)
        value = float(len(asked))
        await call(studies.CompleteTrial, study_service_pb2.CompleteTrialRequest(name=trials[0].name, value=value))
        told[trials[0].name] = value


@pytest.mark.parametrize("point", POINTS)
async def test_a_coordinator_killed_at_a_named_point_loses_nothing(
    point, database_url, tuner, make_coordinator, make_study_request, tmp_path
):
    coordinator = make_coordinator(database_url, tuner.address, tmp_path)
    await coordinator.start([sys.executable, str(PROGRAM), point, "7"])
    request = make_study_request(
        tmp_path, task=None, max_trials=TRIALS, parallelism=4, surrogate_width=1.0, pruner=None
    )
    await coordinator.studies.CreateStudy(request)
    told: dict[str, float] = {}
    asked: list[str] = []
    callers = [asyncio.create_task(drive(coordinator.studies, told, asked)) for _ in range(2)]
    while coordinator.is_running:
        assert not all(caller.done() for caller in callers), "the study was over before the point was reached"
        await asyncio.sleep(0.02)
    await coordinator.start()
    await asyncio.gather(*callers)
    listing = study_service_pb2.ListTrialsRequest(parent=NAME, page_size=1000)
    stored = {each.name: each for each in (await coordinator.studies.ListTrials(listing)).trials}
    await coordinator.close()
    assert len(asked) == len(set(asked)) and set(asked) == set(stored) and len(stored) == TRIALS
    assert {name: each.value for name, each in stored.items()} == told
    assert {each.state for each in stored.values()} == {trial_pb2.TRIAL_STATE_SUCCEEDED}
