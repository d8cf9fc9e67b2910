"""The real process: stopped past its lease and continued, and told to end."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def process(fake: Any, lane: Any, start_worker: Any, until: Any) -> subprocess.Popen[bytes]:
    """A worker in the middle of a bundle that would never end."""
    fake.offer(lane(0), duration_seconds=1.0, measured_steps=[4, 10**9], checkpoint_interval_seconds=0.05)
    worker = start_worker(HYDRO_WORKER_DEVICE="devices/test", HYDRO_WORKER_IDLE_SECONDS="60")
    until(lambda: len(fake.rounds) >= 3, worker)
    return worker


def _files(folder: Path) -> set[Path]:
    return set(folder.glob("artifacts/trials/*/lease-1/*"))


def test_a_worker_stopped_past_its_lease_and_continued_writes_nothing_and_takes_other_work(
    fake: Any, process: subprocess.Popen[bytes], lane: Any, lost: Any, until: Any, tmp_path: Path
) -> None:
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.3)  # what was on its way has arrived
    rounds, files = len(fake.rounds), _files(tmp_path)
    time.sleep(1.2)  # the lease's life
    fake.fault_at_renewal = lost
    fake.offer(lane(1), duration_seconds=30)
    process.send_signal(signal.SIGCONT)
    until(lambda: bool(fake.released), process)
    assert {each.lease for each in fake.rounds[rounds:]} == {"leases/2"}
    assert [each.lease for each in fake.released] == ["leases/2"]
    # At most the one file whose writing had begun; its path is the old lease's.
    assert len(_files(tmp_path) - files) <= 1


def test_sigterm_checkpoints_the_lanes_and_releases_the_lease(fake: Any, process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    assert process.wait(30) == 0
    (released,) = fake.released
    assert released.failure == ""
    (last,) = fake.rounds[-1].reports
    assert last.HasField("checkpoint")
