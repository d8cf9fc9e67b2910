"""A coordinator that does what a test says, behind a real gRPC server, and a task that trains in milliseconds."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from google.protobuf import empty_pb2
from grpc_status import rpc_status

from hydro.api.coordinator.v1 import device_service_pb2, device_service_pb2_grpc, worker_service_pb2_grpc
from hydro.api.coordinator.v1 import worker_service_pb2 as worker_pb
from hydro.api.type.v1 import bundle_pb2, metric_pb2, search_space_pb2, task_pb2
from hydro.kit.channel import open_sync_channel
from hydro.kit.errors import FailedPrecondition, HydroError, Unavailable, to_status
from hydro.worker.coordinator import Coordinator
from hydro.worker.settings import WorkerSettings
from hydro.worker.worker import Worker

TASK = """
import torch
from torch import nn
from torch.nn import functional as F
from hydro.worker import TrainingTask

class Line(TrainingTask):
    defaults = {"lr": 0.1}

    def model(self, hp):
        return nn.Linear(2, 1)

    def train_batches(self, hp, seed, start_step):
        step = start_step
        while True:
            x = torch.randn(8, 2, generator=torch.Generator().manual_seed(seed * 1000 + step))
            yield x, x.sum(1, keepdim=True)
            step += 1

    def validation_batches(self, hp):
        x = torch.randn(16, 2, generator=torch.Generator().manual_seed(99))
        return [(x, x.sum(1, keepdim=True))]

    def loss(self, model, batch, hp):
        x, y = batch
        return F.mse_loss(model(x), y)

    def optimizer(self, model, hp):
        print("an optimizer with lr", hp["lr"])
        return torch.optim.SGD(model.parameters(), lr=hp["lr"])
"""

Decide = Callable[[worker_pb.LaneReport], int]


def lease_lost(name: str) -> FailedPrecondition:
    return FailedPrecondition(f"{name} has expired", reason="LEASE_LOST")


class FakeCoordinator(worker_service_pb2_grpc.WorkerServiceServicer, device_service_pb2_grpc.DeviceServiceServicer):
    """Gives the leases it is told to, answers rounds as it is told to, and remembers everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.waiting: list[worker_pb.Lease] = []
        self.rounds: list[worker_pb.ReportMeasurementsRequest] = []
        self.released: list[worker_pb.ReleaseLeaseRequest] = []
        self.acquired: list[worker_pb.AcquireLeaseRequest] = []
        self.registered: list[device_service_pb2.Device] = []
        self.renewals = 0
        self.insertions: list[bundle_pb2.Lane] = []
        self.clone: Callable[[worker_pb.ReportMeasurementsRequest], list[worker_pb.LaneClone]] = lambda request: []
        self.release_requested = False
        self.decide: Decide = lambda report: worker_pb.VERDICT_CONTINUE
        self.faults: list[HydroError] = []
        self.fault_at_renewal: HydroError | None = None
        self.fault_at_acquire: HydroError | None = None
        self.on_round: Callable[[], None] = lambda: None
        self.on_register: Callable[[], None] = lambda: None
        self.address = ""
        self._server: grpc.Server | None = None

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(8))
        worker_service_pb2_grpc.add_WorkerServiceServicer_to_server(self, self._server)
        device_service_pb2_grpc.add_DeviceServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(self.address or "localhost:0")
        self.address = f"localhost:{port}"
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(None).wait()

    def offer(
        self,
        *lanes: bundle_pb2.Lane,
        gate: str = "",
        duration_seconds: float = 30,
        device_memory_bytes: int = 0,
        **recipe: Any,
    ) -> None:
        """Has a lease ready for whoever asks."""
        fields: dict[str, Any] = {
            "task": task_pb2.Task(entry_point="line:Line", source_path=str(self.folder)),
            "width": 1.0,
            "execution": bundle_pb2.EXECUTION_FUSED,
            "max_lanes": 4,
            "lanes": lanes,
            "measured_steps": [4, 8],
            "objective": metric_pb2.Objective(metric="validation_loss", goal=metric_pb2.GOAL_MINIMIZE),
            "artifact_uri": str(self.folder / "artifacts"),
            "checkpoint_interval_seconds": 600.0,
        }
        token = len(self.acquired) + len(self.waiting) + 1
        self.waiting.append(
            worker_pb.Lease(
                name=f"leases/{token}",
                fencing_token=token,
                duration_seconds=duration_seconds,
                recipe=bundle_pb2.BundleRecipe(**fields | recipe),
                gate=gate,
                device_memory_bytes=device_memory_bytes,
            )
        )

    def measured(self) -> dict[tuple[str, int], dict[str, float]]:
        return {
            (report.trial.rsplit("/", 1)[1], report.steps): dict(report.measurement.metrics)
            for each in self.rounds
            for report in each.reports
            if report.HasField("measurement")
        }

    def RegisterDevice(self, request: Any, context: grpc.ServicerContext) -> device_service_pb2.Device:
        self.registered.append(request.device)
        self.on_register()
        device: device_service_pb2.Device = request.device
        return device

    def AcquireLease(self, request: Any, context: grpc.ServicerContext) -> worker_pb.AcquireLeaseResponse:
        self.acquired.append(request)
        if self.fault_at_acquire is not None:
            context.abort_with_status(rpc_status.to_status(to_status(self.fault_at_acquire)))
        return worker_pb.AcquireLeaseResponse(lease=self.waiting.pop(0) if self.waiting else None)

    def RenewLease(self, request: Any, context: grpc.ServicerContext) -> worker_pb.RenewLeaseResponse:
        self.renewals += 1
        if self.fault_at_renewal is not None:
            context.abort_with_status(rpc_status.to_status(to_status(self.fault_at_renewal)))
        return worker_pb.RenewLeaseResponse(release_requested=self.release_requested)

    def ReportMeasurements(
        self, request_iterator: Iterator[Any], context: grpc.ServicerContext
    ) -> Iterator[worker_pb.ReportMeasurementsResponse]:
        for request in request_iterator:
            self.rounds.append(request)
            self.on_round()
            if self.faults:
                context.abort_with_status(rpc_status.to_status(to_status(self.faults.pop(0))))
            insertions, self.insertions = self.insertions, []
            yield worker_pb.ReportMeasurementsResponse(
                sequence=request.sequence,
                verdicts=[
                    worker_pb.LaneVerdict(trial=report.trial, verdict=self.decide(report))
                    for report in request.reports
                    if report.HasField("measurement") or report.failure
                ],
                insertions=insertions,
                clones=self.clone(request),
                release_requested=self.release_requested,
            )

    def ReleaseLease(self, request: Any, context: grpc.ServicerContext) -> empty_pb2.Empty:
        self.released.append(request)
        return empty_pb2.Empty()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeCoordinator]:
    (tmp_path / "line.py").write_text(TASK)
    coordinator = FakeCoordinator(tmp_path)
    coordinator.start()
    yield coordinator
    coordinator.stop()


@pytest.fixture
def stopping() -> threading.Event:
    return threading.Event()


@pytest.fixture
def run_worker(fake: FakeCoordinator, stopping: threading.Event, tmp_path: Path) -> Callable[[], None]:
    """Runs a worker until it finds no more work."""

    def run() -> None:
        settings = WorkerSettings(
            coordinator_address=fake.address,
            worker_device="devices/test",
            worker_idle_seconds=0,
            gate_directory=tmp_path,
        )
        with open_sync_channel(fake.address) as channel:
            Worker(settings, Coordinator(channel), torch.device("cpu"), stopping).run()

    return run


@pytest.fixture
def start_worker(fake: FakeCoordinator, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a real worker process with these variables."""
    started = []

    def start(**environment: str) -> subprocess.Popen[bytes]:
        inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        own = inherited | {"HYDRO_COORDINATOR_ADDRESS": fake.address, "HYDRO_WORKER_THREADS": "1"}
        started.append(subprocess.Popen([sys.executable, "-m", "hydro.worker"], env=own | environment, cwd=tmp_path))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
        worker.wait()


@pytest.fixture
def until() -> Callable[..., None]:
    """Waits until something holds, while a worker runs."""

    def wait(holds: Callable[[], bool], worker: subprocess.Popen[bytes], minutes: int = 1) -> None:
        for _ in range(minutes * 6000):
            if holds():
                return
            assert worker.poll() is None, "the worker has ended"
            time.sleep(0.01)
        raise AssertionError("it did not come to that")

    return wait


@pytest.fixture
def lane() -> Callable[..., bundle_pb2.Lane]:
    def new(number: int, lr: float = 0.1, **fields: Any) -> bundle_pb2.Lane:
        return bundle_pb2.Lane(
            trial=f"projects/p/studies/s/trials/{number}",
            hyperparameters={"lr": search_space_pb2.Value(double_value=lr)},
            seed=number,
            **fields,
        )

    return new


@pytest.fixture
def unavailable() -> HydroError:
    return Unavailable("the coordinator restarts")


@pytest.fixture
def lost() -> HydroError:
    return lease_lost("leases/1")
