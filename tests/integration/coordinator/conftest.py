"""A coordinator's process, a tuner that answers at once, and a worker whose trainings are arithmetic."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import grpc
import pytest

from hydro.api.coordinator.v1 import (
    device_service_pb2,
    device_service_pb2_grpc,
    study_pb2,
    study_service_pb2,
    study_service_pb2_grpc,
    worker_service_pb2,
    worker_service_pb2_grpc,
)
from hydro.api.tuner.v1 import surrogate_pb2, tuner_service_pb2, tuner_service_pb2_grpc
from hydro.api.type.v1 import bundle_pb2, metric_pb2, search_space_pb2, task_pb2
from hydro.kit.channel import open_channel
from hydro.kit.errors import FailedPrecondition, HydroError, Unavailable


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


class FakeTuner(tuner_service_pb2_grpc.TunerServiceServicer):
    """Surrogates are ready at once; trials of one batch size make a bundle of four lanes that may grow to eight."""

    def __init__(self) -> None:
        self.state = surrogate_pb2.SURROGATE_STATE_READY
        self.reason = ""
        self.warnings = ["runs unfused"]
        self.planned: list[tuner_service_pb2.PlanBundlesRequest] = []

    async def CreateSurrogate(self, request, context):
        return surrogate_pb2.Surrogate(
            name=f"{request.parent}/surrogates/{request.surrogate_id}",
            state=self.state,
            state_reason=self.reason,
            task=task_pb2.Task(entry_point=request.task.entry_point, fingerprint="sha256:task"),
            requested_width=request.width,
            width=request.width,
            warnings=self.warnings,
            artifact=task_pb2.Artifact(uri="file:///s", digest="sha256:0", size_bytes=1),
            roles=[
                surrogate_pb2.HyperparameterRole(hyperparameter="lr", role=surrogate_pb2.ROLE_OPTIMIZER),
                surrogate_pb2.HyperparameterRole(hyperparameter="batch", role=surrogate_pb2.ROLE_STRUCTURAL),
            ],
        )

    async def PlanBundles(self, request, context):
        self.planned.append(request)
        by_batch: dict[int, list[str]] = {}
        for trial in request.trials:
            by_batch.setdefault(trial.hyperparameters["batch"].int_value, []).append(trial.trial)
        return tuner_service_pb2.PlanBundlesResponse(
            bundles=[
                tuner_service_pb2.PlannedBundle(
                    trials=trials[start : start + 4],
                    execution=bundle_pb2.EXECUTION_FUSED,
                    max_lanes=8,
                    segment_seconds=0.001,
                    structure={"batch": search_space_pb2.Value(int_value=batch)},
                )
                for batch, trials in by_batch.items()
                for start in range(0, len(trials), 4)
            ]
        )

    async def TransferHyperparameters(self, request, context):
        transferred = dict(request.hyperparameters)
        if request.batch_ratio > 1 and "lr" in transferred:
            transferred["lr"] = search_space_pb2.Value(
                double_value=transferred["lr"].double_value * request.batch_ratio
            )
        return tuner_service_pb2.TransferHyperparametersResponse(hyperparameters=transferred)


class Coordinator:
    """`python -m hydro.coordinator`, and stubs to it."""

    def __init__(self, database_url: str, tuner_address: str, folder: Path, **settings: str) -> None:
        self.address = f"localhost:{free_port()}"
        self._environment = {
            **os.environ,
            "HYDRO_DATABASE_URL": database_url,
            "HYDRO_COORDINATOR_LISTEN_ADDRESS": self.address,
            "HYDRO_COORDINATOR_TUNER_ADDRESS": tuner_address,
            "HYDRO_COORDINATOR_ARTIFACT_URI": folder.as_uri(),
            "HYDRO_COORDINATOR_LEASE_SECONDS": "2",
            "HYDRO_COORDINATOR_PATIENCE_SECONDS": "0.2",
            **{f"HYDRO_COORDINATOR_{name}": value for name, value in settings.items()},
        }
        self._log = folder / "coordinator.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.channel = open_channel(self.address)
        self.studies = study_service_pb2_grpc.StudyServiceStub(self.channel)
        self.workers = worker_service_pb2_grpc.WorkerServiceStub(self.channel)
        self.devices = device_service_pb2_grpc.DeviceServiceStub(self.channel)

    async def start(self, command: Sequence[str] = (sys.executable, "-m", "hydro.coordinator")) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        for _ in range(300):
            with contextlib.suppress(HydroError):
                await self.devices.ListDevices(device_service_pb2.ListDevicesRequest(), timeout=2)
                return
            await asyncio.sleep(0.1)
        raise RuntimeError(f"the coordinator does not start: {self.log()}")

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        return self._log.read_text()[-5000:]

    def send(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)

    def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        self.send(how)
        assert self._process is not None
        return self._process.wait(20)

    async def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            await asyncio.to_thread(self.kill, signal.SIGTERM)
        await self.channel.close()


class Worker:
    """Trains bundles: the loss of a trial is its learning rate plus 1 over the step."""

    def __init__(self, coordinator: Coordinator, device: str) -> None:
        self._coordinator = coordinator
        self.device = device
        self.acknowledged: dict[tuple[str, int], float] = {}
        self.told: list[str] = []
        self.largest = 0

    async def register(self) -> None:
        device = device_service_pb2.Device(name=self.device, kind=device_service_pb2.DEVICE_KIND_CPU)
        await self._coordinator.devices.RegisterDevice(device_service_pb2.RegisterDeviceRequest(device=device))

    async def work(self) -> None:
        """Trains for ever."""
        while True:
            try:
                lease = await self.acquire()
                if lease is not None:
                    await self.train(lease)
            except (Unavailable, FailedPrecondition) as error:
                if isinstance(error, FailedPrecondition) and error.reason != "LEASE_LOST":
                    raise
                await asyncio.sleep(0.1)

    async def acquire(self, wait_seconds: float = 1.0, request_id: str = "") -> worker_service_pb2.Lease | None:
        request = worker_service_pb2.AcquireLeaseRequest(
            device=self.device, worker="w", request_id=request_id or uuid.uuid4().hex, wait_seconds=wait_seconds
        )
        answer = await self._coordinator.workers.AcquireLease(request)
        return answer.lease if answer.HasField("lease") else None

    async def train(self, lease: worker_service_pb2.Lease) -> None:
        lanes = {lane.trial: lane for lane in lease.recipe.lanes}
        steps = {name: lane.start_step for name, lane in lanes.items()}
        sequence = 0
        while lanes:
            self.largest = max(self.largest, len(lanes))
            sequence += 1
            reports = []
            for name, lane in lanes.items():
                step = next(each for each in lease.recipe.measured_steps if each > steps[name])
                steps[name] = step
                reports.append(self.lane_report(lane, step))
            answer = await self.report(lease, sequence, reports, lease.recipe.max_lanes - len(lanes))
            for report in reports:
                self.acknowledged[report.trial, report.steps] = report.measurement.metrics["loss"]
            for each in answer.verdicts:
                if each.verdict != worker_service_pb2.VERDICT_CONTINUE:
                    del lanes[each.trial]
                if each.verdict == worker_service_pb2.VERDICT_STOP:
                    self.told.append(each.trial)
            for lane in answer.insertions:
                assert lane.trial not in lanes
                lanes[lane.trial], steps[lane.trial] = lane, lane.start_step
            if answer.release_requested:
                break
            await asyncio.sleep(0.01)
        await self._coordinator.workers.ReleaseLease(
            worker_service_pb2.ReleaseLeaseRequest(lease=lease.name, fencing_token=lease.fencing_token)
        )

    async def report(self, lease, sequence, reports, free_lanes=0, memory_misses=()):
        request = worker_service_pb2.ReportMeasurementsRequest(
            lease=lease.name,
            fencing_token=lease.fencing_token,
            sequence=sequence,
            reports=reports,
            free_lanes=free_lanes,
            device_seconds=0.5,
            fusion_count=len(reports),
            memory_misses=memory_misses,
        )

        async def requests():
            yield request

        async for answer in self._coordinator.workers.ReportMeasurements(requests()):
            return answer
        raise Unavailable("no answer")

    @staticmethod
    def lane_report(lane, step: int, loss: float | None = None) -> worker_service_pb2.LaneReport:
        rate = lane.hyperparameters["lr"].double_value
        metrics = {"loss": rate + 1 / step if loss is None else loss}
        return worker_service_pb2.LaneReport(
            trial=lane.trial,
            steps=step,
            measurement=metric_pb2.Measurement(step=step, metrics=metrics),
            checkpoint=task_pb2.Artifact(uri=f"file:///{lane.trial}/{step}", digest="sha256:0", size_bytes=1),
            log=f"step {step}\n",
        )


def study_request(folder: Path, study_id: str = "digits", **changes: object) -> study_service_pb2.CreateStudyRequest:
    """A study of 16 trials, ASHA 1-2-4, over lr and batch; its task's module is made in the folder."""
    (folder / "toytask.py").write_text("raise RuntimeError('nobody imports this in a server')\n")
    study = study_pb2.Study(
        task=task_pb2.Task(entry_point="toytask:Toy", source_path=str(folder)),
        search_space=search_space_pb2.SearchSpace(
            parameters=[
                search_space_pb2.Parameter(
                    name="lr", float_domain=search_space_pb2.FloatDomain(min=0.001, max=1, log=True)
                ),
                search_space_pb2.Parameter(
                    name="batch",
                    categorical_domain=search_space_pb2.CategoricalDomain(
                        values=[search_space_pb2.Value(int_value=64), search_space_pb2.Value(int_value=128)]
                    ),
                ),
            ]
        ),
        objective=metric_pb2.Objective(metric="loss", goal=metric_pb2.GOAL_MINIMIZE),
        sampler=study_pb2.SAMPLER_RANDOM,
        pruner=study_pb2.Pruner(asha=study_pb2.AshaPruner(min_steps=1, eta=2)),
        max_steps=4,
        surrogate_width=0.5,
        max_trials=16,
        parallelism=8,
        seed=3,
    )
    for name, value in changes.items():
        if value is None:
            study.ClearField(name)
        elif hasattr(value, "DESCRIPTOR"):
            getattr(study, name).CopyFrom(value)
        else:
            setattr(study, name, value)
    return study_service_pb2.CreateStudyRequest(
        parent="projects/p", study_id=study_id, study=study, request_id=uuid.uuid4().hex
    )


async def until(coordinator: Coordinator, name: str, *states: int, seconds: float = 90) -> study_pb2.Study:
    """Gives the study once it is in one of the states."""
    async with asyncio.timeout(seconds):
        while True:
            with contextlib.suppress(Unavailable):
                study = await coordinator.studies.GetStudy(study_service_pb2.GetStudyRequest(name=name))
                if study.state in states:
                    return study
            await asyncio.sleep(0.1)


@pytest.fixture
def make_study_request():
    return study_request


@pytest.fixture
def driven_study(tmp_path):
    """Makes the request for a study that callers drive."""
    median = study_pb2.Pruner(median=study_pb2.MedianPruner(measurement_interval_steps=1, startup_trials=4))

    def request(**changes):
        return study_request(tmp_path, **{"task": None, "pruner": median, "max_steps": 0} | changes)

    return request


@pytest.fixture
def wait_until():
    return until


@pytest.fixture
def make_coordinator():
    return Coordinator


@pytest.fixture
def make_worker():
    return Worker


@pytest.fixture
async def tuner() -> AsyncIterator[FakeTuner]:
    servicer = FakeTuner()
    server = grpc.aio.server()
    tuner_service_pb2_grpc.add_TunerServiceServicer_to_server(servicer, server)
    servicer.address = f"localhost:{server.add_insecure_port('localhost:0')}"
    await server.start()
    yield servicer
    await server.stop(0)


@pytest.fixture
async def coordinator(database_url: str, tuner: FakeTuner, tmp_path: Path) -> AsyncIterator[Coordinator]:
    process = Coordinator(database_url, tuner.address, tmp_path)
    await process.start()
    yield process
    await process.close()


@pytest.fixture
async def coordinator_on_own_postgres(new_postgres_server, tuner: FakeTuner, tmp_path: Path):
    process = Coordinator(new_postgres_server.url(), tuner.address, tmp_path)
    await process.start()
    yield process
    await process.close()


@pytest.fixture
async def working(make_worker):
    """Starts workers that go on until the test ends."""
    tasks: list[asyncio.Task[None]] = []

    async def start(coordinator: Coordinator, count: int = 2) -> list[Worker]:
        workers = [Worker(coordinator, f"devices/cpu-{number}") for number in range(count)]
        for worker in workers:
            await worker.register()
            tasks.append(asyncio.create_task(worker.work()))
        return workers

    yield start
    for task in tasks:
        task.cancel()
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result
