"""Clients of Hydro: coroutines on the contract's unary calls or on its stream, and the SDK as users have it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

from benchmarks.study_service.workload import STARTUP_TRIALS, Space
from hydro.api.coordinator.v1 import study_service_pb2 as calls
from hydro.api.coordinator.v1.study_service_pb2_grpc import StudyServiceStub
from hydro.api.type.v1 import metric_pb2
from hydro.client import Client as HydroClient
from hydro.client import Domain, SearchSpace, Trial, choice, integer, loguniform, median, minimize, uniform
from hydro.kit.channel import open_channel

METRIC = "loss"
MOST_STEPS = 1000
"""More than any trial here reports: none ends by itself."""


class UnaryClient:
    """One of many coroutines that share a channel."""

    def __init__(self, stub: StudyServiceStub, study: str) -> None:
        self._stub = stub
        self._study = study
        self._trial = ""

    async def ask(self) -> None:
        """SuggestTrials."""
        request = calls.SuggestTrialsRequest(parent=self._study, count=1, request_id=str(uuid.uuid4()))
        (trial,) = (await self._stub.SuggestTrials(request)).trials  # type: ignore[misc]
        self._trial = trial.name

    async def report(self, step: int, value: float) -> bool:
        """ReportMeasurement."""
        measurement = metric_pb2.Measurement(step=step, metrics={METRIC: value})
        request = calls.ReportMeasurementRequest(name=self._trial, measurement=measurement)
        answer = await self._stub.ReportMeasurement(request)  # type: ignore[misc]
        return bool(answer.should_stop)

    async def tell(self, value: float) -> None:
        """CompleteTrial."""
        await self._stub.CompleteTrial(calls.CompleteTrialRequest(name=self._trial, value=value))  # type: ignore[misc]


class StreamClient:
    """One of many coroutines that share a channel, each with a stream of its own."""

    def __init__(self, stub: StudyServiceStub, study: str) -> None:
        self._study = study
        self._trial = ""
        self._requests: asyncio.Queue[calls.DriveTrialsRequest] = asyncio.Queue()
        self._stub: Any = stub
        self._answers: Any = None

    async def ask(self) -> None:
        """A suggestion."""
        request = calls.SuggestTrialsRequest(parent=self._study, count=1, request_id=str(uuid.uuid4()))
        answer = await self._exchange(calls.DriveTrialsRequest(suggest=request))
        (trial,) = answer.suggested.trials
        self._trial = trial.name

    async def report(self, step: int, value: float) -> bool:
        """A measurement."""
        measurement = metric_pb2.Measurement(step=step, metrics={METRIC: value})
        request = calls.ReportMeasurementRequest(name=self._trial, measurement=measurement)
        answer = await self._exchange(calls.DriveTrialsRequest(report=request))
        return bool(answer.reported.should_stop)

    async def tell(self, value: float) -> None:
        """The trial's end."""
        request = calls.CompleteTrialRequest(name=self._trial, value=value)
        await self._exchange(calls.DriveTrialsRequest(complete=request))

    async def _exchange(self, request: calls.DriveTrialsRequest) -> calls.DriveTrialsResponse:
        if self._answers is None:
            self._answers = aiter(self._stub.DriveTrials(self._said()))
        await self._requests.put(request)
        answer: calls.DriveTrialsResponse = await anext(self._answers)
        return answer

    async def _said(self) -> AsyncIterator[calls.DriveTrialsRequest]:
        while True:
            yield await self._requests.get()


class SdkClient:
    """`hydro.client`, which blocks: one in a process."""

    def __init__(self, address: str, study: str) -> None:
        self._study = HydroClient(address).get_study(study)
        self._trial: Trial | None = None

    async def ask(self) -> None:
        """Study.ask."""
        self._trial = self._study.ask()

    async def report(self, step: int, value: float) -> bool:
        """Trial.report."""
        assert self._trial is not None
        return self._trial.report(step, value)

    async def tell(self, value: float) -> None:
        """Trial.tell."""
        assert self._trial is not None
        self._trial.tell(value)


def unary_clients(address: str, study: str, count: int) -> list[UnaryClient]:
    """Makes them on one channel; called inside the loop that runs them."""
    stub = StudyServiceStub(open_channel(address))
    return [UnaryClient(stub, study) for _ in range(count)]


def stream_clients(address: str, study: str, count: int) -> list[StreamClient]:
    """Makes them on one channel; called inside the loop that runs them."""
    stub = StudyServiceStub(open_channel(address))
    return [StreamClient(stub, study) for _ in range(count)]


def create_study(address: str, study: str, space: Space, sampler: str, parallelism: int) -> str:
    """Creates a study with the median pruner and room for any number of trials, and gives its resource name."""
    with HydroClient(address) as client:
        created = client.create_study(
            study,
            search_space=_search_space(space),
            objective=minimize(METRIC),
            sampler=sampler,
            pruner=median(interval_steps=1, max_steps=MOST_STEPS, startup_trials=STARTUP_TRIALS),
            trials=1_000_000,
            parallelism=parallelism,
        )
        return str(created.name)


def _search_space(space: Space) -> SearchSpace:
    return {name: _domain(kind, content) for name, (kind, content) in space.items()}


def _domain(kind: str, content: tuple[Any, ...]) -> Domain:
    if kind == "choice":
        return choice(content)
    low, high = content
    if kind == "int":
        return integer(low, high)
    return loguniform(low, high) if kind == "log_float" else uniform(low, high)
