"""Drives a study over the wire, and holds what is stored against what was answered."""

from __future__ import annotations

import asyncio
import contextlib
import uuid

from hydro.api.coordinator.v1 import study_service_pb2, trial_pb2
from hydro.api.type.v1 import metric_pb2
from hydro.kit.errors import DeadlineExceeded, Unavailable

NAME = "projects/p/studies/digits"


class Caller:
    """Drives trials through some coordinators in turn; what was acknowledged is its history."""

    def __init__(self, *coordinators, call_seconds: float = 20) -> None:
        self.coordinators = list(coordinators)
        self.call_seconds = call_seconds
        self.asked: list[str] = []
        self.measured: dict[tuple[str, int], float] = {}
        self.told: dict[str, float | None] = {}

    async def call(self, method, request):
        """Sends the call until it is answered, now to one coordinator, now to the next."""
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(Unavailable, DeadlineExceeded):
                    return await getattr(self.coordinators[0].studies, method)(request, timeout=self.call_seconds)
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
