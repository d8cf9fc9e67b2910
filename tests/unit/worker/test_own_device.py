"""Workers that bring their device: what they say of it, and that they stay."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from pydantic import ValidationError

from hydro.api.coordinator.v1 import device_service_pb2
from hydro.kit.errors import NotFound, Unavailable
from hydro.worker.own_device import own_device, usable_memory_bytes
from hydro.worker.settings import WorkerSettings


@pytest.fixture
def start(fake: Any, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a worker that brings its device and would end at once for want of work."""
    started = []

    def new(**environment: str) -> subprocess.Popen[bytes]:
        own = {
            "PATH": os.environ["PATH"],
            "HYDRO_COORDINATOR_ADDRESS": fake.address,
            "HYDRO_WORKER_REGISTER": "1",
            "HYDRO_WORKER_IDLE_SECONDS": "0",
            "HYDRO_WORKER_THREADS": "1",
        }
        started.append(subprocess.Popen([sys.executable, "-m", "hydro.worker"], env=own | environment, cwd=tmp_path))
        return started[-1]

    yield new
    for worker in started:
        worker.kill()
        worker.wait()


def _until(holds: Callable[[], bool], worker: subprocess.Popen[bytes]) -> None:
    for _ in range(6000):
        if holds():
            return
        assert worker.poll() is None, "the worker has ended"
        time.sleep(0.01)
    raise AssertionError("it did not come to that")


def test_a_worker_registers_its_device_works_and_stays_without_work(fake: Any, start: Any, lane: Any) -> None:
    fake.offer(lane(0))
    core = min(os.sched_getaffinity(0))
    worker = start(HYDRO_WORKER_CORES=str(core))
    _until(lambda: bool(fake.released), worker)
    calls = len(fake.acquired)
    _until(lambda: len(fake.acquired) >= calls + 2, worker)
    (device,) = fake.registered
    assert (device.name, device.kind) == (f"devices/{os.uname().nodename}", device_service_pb2.DEVICE_KIND_CPU)
    assert (device.model, list(device.cpu_cores)) == ("cpu", [core])
    assert 0 < device.memory_bytes <= psutil.virtual_memory().total
    assert {each.device for each in fake.acquired} == {device.name}
    worker.terminate()
    assert worker.wait(30) == 0


def test_a_coordinator_that_does_not_know_the_device_is_told_again(fake: Any, start: Any, lane: Any) -> None:
    fake.fault_at_acquire = NotFound("devices/mine does not exist: register it first")

    def know_it_the_second_time() -> None:
        if len(fake.registered) == 2:
            fake.fault_at_acquire = None

    fake.on_register = know_it_the_second_time
    fake.offer(lane(0))
    worker = start(HYDRO_WORKER_DEVICE="devices/mine")
    _until(lambda: bool(fake.released), worker)
    assert [device.name for device in fake.registered] == ["devices/mine", "devices/mine"]


def test_a_coordinator_that_is_away_is_waited_for(fake: Any, start: Any, lane: Any) -> None:
    fake.fault_at_acquire = Unavailable("it restarts")
    fake.offer(lane(0))
    worker = start()
    _until(lambda: len(fake.acquired) >= 2, worker)
    fake.fault_at_acquire = None
    _until(lambda: bool(fake.released), worker)
    assert len(fake.registered) == 1


def test_a_containers_limit_is_the_memory_that_counts(tmp_path: Path) -> None:
    total = psutil.virtual_memory().total
    limit, no_limit = tmp_path / "limit", tmp_path / "no-limit"
    limit.write_text("1048576\n")
    no_limit.write_text("max\n")
    assert usable_memory_bytes([no_limit, tmp_path / "absent"]) == total
    assert usable_memory_bytes([limit, no_limit]) == 1_048_576
    limit.write_text(f"{2**63 - 4096}\n")
    assert usable_memory_bytes([limit]) == total


def test_cores_that_the_worker_is_pinned_to_are_said_in_order() -> None:
    settings = WorkerSettings(worker_register=True, worker_device="devices/mine", worker_cores="3,1")
    described = own_device(settings, torch.device("cpu"))
    assert (described.name, described.is_gpu, described.cpu_cores) == ("devices/mine", False, (1, 3))


def test_a_worker_without_a_device_says_what_to_set() -> None:
    with pytest.raises(ValidationError, match="HYDRO_WORKER_REGISTER=1"):
        WorkerSettings()


def test_a_slot_is_not_a_workers_to_register() -> None:
    with pytest.raises(ValidationError, match="its squeezer registers it"):
        WorkerSettings(worker_device="devices/gpu-0/slots/0", worker_register=True)
