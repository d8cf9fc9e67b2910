"""Clients that drive a study through whatever happens, and write down every answer they got."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from hydro.api.coordinator.v1 import study_pb2, trial_pb2
from hydro.api.coordinator.v1 import study_service_pb2 as calls
from hydro.api.coordinator.v1.study_service_pb2_grpc import StudyServiceStub
from hydro.api.type.v1 import metric_pb2, search_space_pb2
from hydro.kit.channel import SHORT_RETRY_SECONDS, open_channel
from hydro.kit.errors import DeadlineExceeded, ResourceExhausted, Unavailable

REPORTS = 3
CALL_SECONDS = 3.0
PATIENCE_SECONDS = 120.0
PASSING = (Unavailable, DeadlineExceeded, ResourceExhausted)
"""Errors that say: the same call may be sent again."""


def study_request(trials: int, parallelism: int) -> calls.CreateStudyRequest:
    """A study that its callers drive, of random search under the median rule."""
    return calls.CreateStudyRequest(
        parent="projects/faults",
        study_id=f"s-{uuid.uuid4().hex[:12]}",
        request_id=str(uuid.uuid4()),
        study=study_pb2.Study(
            search_space=search_space_pb2.SearchSpace(
                parameters=[search_space_pb2.Parameter(name="x", float_domain=search_space_pb2.FloatDomain(max=1))]
            ),
            objective=metric_pb2.Objective(metric="loss", goal=metric_pb2.GOAL_MINIMIZE),
            sampler=study_pb2.SAMPLER_RANDOM,
            pruner=study_pb2.Pruner(median=study_pb2.MedianPruner(measurement_interval_steps=1, startup_trials=4)),
            max_steps=100,
            surrogate_width=1,
            max_trials=trials,
            parallelism=parallelism,
        ),
    )


class Driving:
    """A study, the clients that drive it, and the history of what they were told.

    Args:
        address: where the clients call.
        way: how a client sends a call; by default once, and again after a passing error.
        call_seconds: how long a call may take, with its channel's own retries.
        retry_seconds: how long the clients' channel tries again what was not answered.
    """

    def __init__(
        self,
        address: str,
        *,
        trials: int = 40,
        clients: int = 6,
        way: Way | None = None,
        call_seconds: float = CALL_SECONDS,
        retry_seconds: float = SHORT_RETRY_SECONDS,
    ) -> None:
        self.trials = trials
        self.clients = clients
        self.call_seconds = call_seconds
        self.channel = open_channel(address, retry_seconds=retry_seconds)
        self.stub: Any = StudyServiceStub(self.channel)
        self.study = ""
        self.way = way or once
        self.random = Random(0)
        self.given: dict[str, str] = {}
        self.measured: dict[tuple[str, int], tuple[float, bool]] = {}
        self.told: dict[str, float] = {}
        self.errors: Counter[str] = Counter()

    async def create(self) -> None:
        """Creates the study."""
        request = study_request(self.trials, 2 * self.clients)
        self.study = (await self.call(self.stub.CreateStudy, request)).name

    async def run(self) -> None:
        """Drives the study to its end."""
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
            for _ in range(self.clients):
                group.create_task(self._drive())

    async def call(self, method: Any, request: Any) -> Any:
        """Sends the very same call until it is answered."""
        while True:
            try:
                return await self.way(lambda: method(request, timeout=self.call_seconds))
            except PASSING as error:
                self.errors[type(error).__name__] += 1
                await asyncio.sleep(self.random.uniform(0.02, 0.2))

    async def _drive(self) -> None:
        while len(self.told) < self.trials:
            request = calls.SuggestTrialsRequest(parent=self.study, count=1, request_id=str(uuid.uuid4()))
            answer = await self.call(self.stub.SuggestTrials, request)
            if not answer.trials:
                if len(self.given) >= self.trials:
                    return
                await asyncio.sleep(0.05)
            for trial in answer.trials:
                # A request's trials are its own.
                assert trial.name not in self.given, f"{trial.name} was given to two requests"
                self.given[trial.name] = request.request_id
                await self._train(trial.name)

    async def _train(self, name: str) -> None:
        for step in range(1, REPORTS + 1):
            value = self.random.random()
            measurement = metric_pb2.Measurement(step=step, metrics={"loss": value})
            request = calls.ReportMeasurementRequest(name=name, measurement=measurement)
            answer = await self.call(self.stub.ReportMeasurement, request)
            self.measured[name, step] = value, answer.should_stop
        value = self.random.random()
        ended = await self.call(self.stub.CompleteTrial, calls.CompleteTrialRequest(name=name, value=value))
        assert (ended.state, ended.value) == (trial_pb2.TRIAL_STATE_SUCCEEDED, value)
        assert name not in self.told, f"{name} was told twice"
        self.told[name] = value

    async def check(self) -> None:
        """Holds what is stored against everything that was ever answered."""
        stored = await self.stored()
        assert len(stored) <= self.trials
        assert set(self.given) <= set(stored)
        for (name, step), (value, _) in self.measured.items():
            values = {each.step: each.metrics["loss"] for each in stored[name].measurements}
            assert values[step] == value, f"{name} was measured as {value} at step {step}"
        for name, value in self.told.items():
            assert (stored[name].state, stored[name].value) == (trial_pb2.TRIAL_STATE_SUCCEEDED, value)

    async def check_end(self) -> None:
        """Nothing is lost, nothing is there twice, and all the study's trials were run."""
        await self.check()
        assert len(self.told) == self.trials == len(await self.stored())
        request = calls.GetStudyRequest(name=self.study)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (study := await self.call(self.stub.GetStudy, request)).state == study_pb2.STUDY_STATE_SEARCHING:
                await asyncio.sleep(0.1)
        assert study.state == study_pb2.STUDY_STATE_SUCCEEDED
        assert self.told[study.best_trial] == min(self.told.values())

    async def stored(self) -> dict[str, trial_pb2.Trial]:
        """All trials of the study, by name."""
        request = calls.ListTrialsRequest(parent=self.study, page_size=1000)
        return {each.name: each for each in (await self.call(self.stub.ListTrials, request)).trials}

    async def close(self) -> None:
        """Closes the connection."""
        await self.channel.close()


Way = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def once(send: Callable[[], Awaitable[Any]]) -> Any:
    """Sends a call once."""
    return await send()


class Watching:
    """Follows a study from the side, and takes up broken streams where they broke."""

    def __init__(self, driving: Driving) -> None:
        self._driving = driving
        self.steps: dict[str, int] = {}
        self.ends: dict[str, float] = {}
        self._task = asyncio.create_task(self._follow())

    async def check(self) -> None:
        """Every end that a client was answered was seen, and no other."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._task
        assert self.ends == self._driving.told

    async def _follow(self) -> None:
        token = ""
        while True:
            request = calls.WatchStudyRequest(name=self._driving.study, resume_token=token)
            try:
                async for change in self._driving.stub.WatchStudy(request):
                    token = change.resume_token
                    self._note(change)
                    if change.study.state == study_pb2.STUDY_STATE_SUCCEEDED:
                        return
            except PASSING:
                await asyncio.sleep(0.1)

    def _note(self, change: calls.WatchStudyResponse) -> None:
        for trial in change.trials:
            # Revisions are seen in their order: a trial never goes back.
            assert trial.steps >= self.steps.get(trial.name, 0)
            assert trial.name not in self.ends or trial.state == trial_pb2.TRIAL_STATE_SUCCEEDED
            self.steps[trial.name] = trial.steps
            if trial.state == trial_pb2.TRIAL_STATE_SUCCEEDED:
                self.ends[trial.name] = trial.value
