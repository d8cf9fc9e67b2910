"""Workers that bring their device: what they say of it."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest
import torch
from pydantic import ValidationError

from hydro.worker.own_device import own_device, usable_memory_bytes
from hydro.worker.settings import WorkerSettings


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
