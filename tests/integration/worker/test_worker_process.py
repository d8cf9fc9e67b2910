"""The real process: stopped past its lease and continued, and told to end."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from hydro.api.type.v1 import bundle_pb2
from hydro.kit.artifacts import read_artifact
from hydro.tuner.training.checkpoint import LaneState


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


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_compiled_bundle_measures_and_stores_what_the_grouped_one_does(
    fake: Any, lane: Any, start_worker: Any, until: Any, tmp_path: Path
) -> None:
    lanes = [lane(number, lr=0.05 * (number + 1)) for number in range(3)]
    worker = start_worker(
        HYDRO_WORKER_DEVICE="devices/test", HYDRO_WORKER_IDLE_SECONDS="60", TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "c")
    )
    found = []
    for execution in (bundle_pb2.EXECUTION_FUSED, bundle_pb2.EXECUTION_COMPILED):
        fake.rounds.clear()
        fake.released.clear()
        fake.offer(*lanes, execution=execution, micro_lanes=4, duration_seconds=60)
        until(lambda: bool(fake.released), worker, minutes=4)
        assert [each.failure for each in fake.released] == [""]
        found.append((fake.measured(), _last_checkpoints(fake), fake.rounds[0].reports[0].log))
    (grouped, grouped_models, _), (compiled, compiled_models, log) = found
    assert "3 lanes as one program, compiled;" in log
    assert list((tmp_path / "c").rglob("*.so"))
    assert compiled.keys() == grouped.keys() == {(str(number), step) for number in range(3) for step in (4, 8)}
    for key, metrics in grouped.items():
        assert compiled[key] == pytest.approx(metrics, rel=1e-5)
    for name, model in grouped_models.items():
        for tensor_name, tensor in model.items():
            assert torch.allclose(compiled_models[name][tensor_name], tensor, rtol=1e-4, atol=1e-6), tensor_name


def _last_checkpoints(fake: Any) -> dict[str, dict[str, torch.Tensor]]:
    """Each trial's parameters after the last step."""
    stored = {report.trial: report.checkpoint for each in fake.rounds for report in each.reports}
    return {
        trial: dict(LaneState.from_bytes(read_artifact(artifact.uri, artifact.digest), torch.device("cpu"), 8).model)
        for trial, artifact in stored.items()
    }


def test_sigterm_checkpoints_the_lanes_and_releases_the_lease(fake: Any, process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    assert process.wait(30) == 0
    (released,) = fake.released
    assert released.failure == ""
    (last,) = fake.rounds[-1].reports
    assert last.HasField("checkpoint")
