"""The real process, bringing its device: it registers it, and stays."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from hydro.api.coordinator.v1 import device_service_pb2
from hydro.kit.errors import NotFound, Unavailable


@pytest.fixture
def start(start_worker: Callable[..., subprocess.Popen[bytes]]) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts a worker that brings its device and would end at once for want of work."""
    return lambda **environment: start_worker(HYDRO_WORKER_REGISTER="1", HYDRO_WORKER_IDLE_SECONDS="0", **environment)


def test_a_worker_registers_its_device_works_and_stays_without_work(
    fake: Any, start: Any, lane: Any, until: Any
) -> None:
    fake.offer(lane(0))
    core = min(os.sched_getaffinity(0))
    worker = start(HYDRO_WORKER_CORES=str(core))
    until(lambda: bool(fake.released), worker)
    calls = len(fake.acquired)
    until(lambda: len(fake.acquired) >= calls + 2, worker)
    (device,) = fake.registered
    assert (device.name, device.kind) == (f"devices/{os.uname().nodename}", device_service_pb2.DEVICE_KIND_CPU)
    assert (device.model, list(device.cpu_cores), device.threads) == ("cpu", [core], 1)
    assert 0 < device.memory_bytes <= psutil.virtual_memory().total
    assert {each.device for each in fake.acquired} == {device.name}
    worker.terminate()
    assert worker.wait(30) == 0


def test_a_coordinator_that_does_not_know_the_device_is_told_again(
    fake: Any, start: Any, lane: Any, until: Any
) -> None:
    fake.fault_at_acquire = NotFound("devices/mine does not exist: register it first")

    def know_it_the_second_time() -> None:
        if len(fake.registered) == 2:
            fake.fault_at_acquire = None

    fake.on_register = know_it_the_second_time
    fake.offer(lane(0))
    worker = start(HYDRO_WORKER_DEVICE="devices/mine")
    until(lambda: bool(fake.released), worker)
    assert [device.name for device in fake.registered] == ["devices/mine", "devices/mine"]


def test_a_coordinator_that_is_away_is_waited_for(fake: Any, start: Any, lane: Any, until: Any) -> None:
    fake.fault_at_acquire = Unavailable("it restarts")
    fake.offer(lane(0))
    worker = start()
    until(lambda: len(fake.acquired) >= 2, worker)
    fake.fault_at_acquire = None
    until(lambda: bool(fake.released), worker)
    assert len(fake.registered) == 1
