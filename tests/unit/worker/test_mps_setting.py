"""A worker goes through MPS on a slot only when it was asked to."""

from __future__ import annotations

import pytest

from hydro.worker.device import choose_mps
from hydro.worker.settings import WorkerSettings

DAEMON = "pipes-of-a-daemon"


@pytest.mark.parametrize(
    ("device", "mps", "is_kept_out"),
    [
        ("devices/gpu/slots/run-1", False, True),
        ("devices/gpu/slots/run-1", True, False),
        ("devices/gpu", False, False),
    ],
)
def test_worker_on_a_slot_stays_out_of_mps_unless_asked(device: str, mps: bool, is_kept_out: bool) -> None:
    environment = {"CUDA_MPS_PIPE_DIRECTORY": DAEMON}
    choose_mps(WorkerSettings(worker_device=device, worker_mps=mps), environment)
    assert (environment["CUDA_MPS_PIPE_DIRECTORY"] != DAEMON) is is_kept_out
