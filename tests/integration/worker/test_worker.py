"""The worker against a coordinator of the test's making: real gRPC, real training of a tiny task."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from hydro.api.coordinator.v1 import worker_service_pb2 as worker_pb
from hydro.api.type.v1 import bundle_pb2, metric_pb2, task_pb2
from hydro.kit.artifacts import read_artifact
from hydro.kit.errors import NotFound
from hydro.squeezer.events import EventKind, EventWriter, StageWait
from hydro.squeezer.gate import ControllerGate
from hydro.tuner.task_loading import fingerprint
from hydro.tuner.training.checkpoint import LaneState


def _state(artifact: task_pb2.Artifact, step: int) -> LaneState:
    return LaneState.from_bytes(read_artifact(artifact.uri, artifact.digest), torch.device("cpu"), step)


def _open_gate(folder: Path) -> ControllerGate:
    """A gate in a bubble of a minute."""
    stage = EventWriter.create(folder / "run.events")
    gate = ControllerGate.create(folder / "claim.gate", stage.path.name)
    stage.write(EventKind.BEGIN, time.monotonic_ns())
    minute_ns = 60_000_000_000
    gate.open(StageWait.attach(stage.path).number, time.monotonic_ns() + minute_ns, minute_ns)
    return gate


@contextmanager
def _beating(gate: ControllerGate) -> Iterator[None]:
    """Its controller lives meanwhile."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(0.05):
            gate.beat()

    heart = threading.Thread(target=beat)
    heart.start()
    yield
    done.set()
    heart.join()


def test_all_lanes_due_are_reported_in_one_round_with_stored_checkpoints(fake: Any, run_worker: Any, lane: Any) -> None:
    fake.offer(lane(0), lane(1, lr=0.05))
    run_worker()
    assert [len(each.reports) for each in fake.rounds] == [2, 2]
    assert [each.sequence for each in fake.rounds] == [1, 2]
    assert fake.measured().keys() == {("0", 4), ("1", 4), ("0", 8), ("1", 8)}
    assert fake.measured()["0", 8]["validation_loss"] < fake.measured()["0", 4]["validation_loss"]
    for each in fake.rounds:
        assert each.fusion_count == 2
        assert each.free_lanes == 2
        assert each.device_seconds > 0
        for report in each.reports:
            assert _state(report.checkpoint, report.steps).model.keys() == {"weight", "bias"}
            assert f"lease-{each.fencing_token}/" in report.checkpoint.uri
    (released,) = fake.released
    assert (released.failure, released.failure_reason) == ("", "")


def test_verdicts_free_lanes(fake: Any, run_worker: Any, lane: Any) -> None:
    verdicts = {0: worker_pb.VERDICT_PAUSE, 1: worker_pb.VERDICT_PRUNE, 2: worker_pb.VERDICT_CONTINUE}
    fake.decide = lambda report: verdicts[int(report.trial[-1])]
    fake.offer(lane(0), lane(1), lane(2))
    run_worker()
    assert fake.measured().keys() == {("0", 4), ("1", 4), ("2", 4), ("2", 8)}
    assert [each.fusion_count for each in fake.rounds] == [3, 1]


def test_a_promoted_lane_joins_with_its_checkpoint_and_ends_as_if_undisturbed(
    fake: Any, run_worker: Any, lane: Any
) -> None:
    fake.offer(lane(0))
    run_worker()
    undisturbed = fake.measured()["0", 8]
    at_four = fake.rounds[0].reports[0].checkpoint
    fake.rounds.clear()
    fake.insertions = [lane(0, checkpoint=at_four, start_step=4), lane(2)]
    fake.offer(lane(1, lr=0.05))
    run_worker()
    assert fake.measured()["0", 8] == pytest.approx(undisturbed)
    assert fake.measured().keys() == {("0", 8), ("1", 4), ("1", 8), ("2", 4), ("2", 8)}
    assert max(each.fusion_count for each in fake.rounds) == 3


def test_a_broken_stream_is_opened_again_and_the_same_round_sent(
    fake: Any, run_worker: Any, lane: Any, unavailable: Any
) -> None:
    fake.faults = [unavailable, unavailable]
    fake.offer(lane(0))
    run_worker()
    assert [each.sequence for each in fake.rounds][-1] == 2
    first = [each for each in fake.rounds if each.sequence == 1]
    assert len(first) >= 2
    assert all(each == first[0] for each in first)
    assert fake.measured().keys() == {("0", 4), ("0", 8)}


def test_a_coordinator_that_restarts_is_waited_for(fake: Any, run_worker: Any, lane: Any) -> None:
    restarted = threading.Event()

    def restart() -> None:
        if not restarted.is_set():
            restarted.set()
            threading.Thread(target=lambda: (fake.stop(), time.sleep(0.2), fake.start())).start()

    fake.on_round = restart
    fake.offer(lane(0))
    run_worker()
    assert fake.measured().keys() == {("0", 4), ("0", 8)}
    assert len(fake.released) == 1


def test_a_lost_lease_is_dropped_without_another_write(
    fake: Any, run_worker: Any, lane: Any, lost: Any, tmp_path: Path
) -> None:
    fake.faults = [lost]
    fake.offer(lane(0))
    fake.offer(lane(1))
    run_worker()
    assert [each.lease for each in fake.rounds] == ["leases/1", "leases/2", "leases/2"]
    assert [each.lease for each in fake.released] == ["leases/2"]
    assert not list(tmp_path.glob("artifacts/trials/0/*/step-8*"))
    requests = [each.request_id for each in fake.acquired]
    assert len(set(requests[:3])) == 3


def test_a_release_request_is_answered_with_checkpoints_and_a_release(fake: Any, run_worker: Any, lane: Any) -> None:
    fake.release_requested = True
    fake.offer(lane(0), lane(1))
    run_worker()
    assert [[report.steps for report in each.reports] for each in fake.rounds] == [[4, 4], [4, 4]]
    assert all(report.HasField("checkpoint") for report in fake.rounds[1].reports)
    assert not any(report.HasField("measurement") for report in fake.rounds[1].reports)
    assert len(fake.released) == 1


def test_a_worker_that_is_told_to_stop_checkpoints_and_releases(
    fake: Any, run_worker: Any, lane: Any, stopping: threading.Event
) -> None:
    fake.on_round = stopping.set
    fake.offer(lane(0))
    fake.offer(lane(1))
    run_worker()
    assert [report.steps for each in fake.rounds for report in each.reports] == [4, 4]
    assert len(fake.released) == 1
    assert len(fake.waiting) == 1


def test_lanes_are_checkpointed_between_measurements(fake: Any, run_worker: Any, lane: Any) -> None:
    fake.offer(lane(0), checkpoint_interval_seconds=1e-9)
    run_worker()
    kept = [report.steps for each in fake.rounds for report in each.reports if not report.HasField("measurement")]
    assert kept
    assert {_state(report.checkpoint, report.steps).step for each in fake.rounds for report in each.reports} >= set(
        kept
    )


def test_another_source_than_the_surrogates_is_refused(fake: Any, run_worker: Any, lane: Any, tmp_path: Path) -> None:
    task = task_pb2.Task(entry_point="line:Line", source_path=str(tmp_path), fingerprint="sha256:another")
    fake.offer(lane(0), task=task)
    task.fingerprint = fingerprint("line:Line", str(tmp_path))
    fake.offer(lane(1), task=task)
    run_worker()
    refused, trained = fake.released
    assert refused.failure_reason == "TASK_CHANGED"
    assert "create a new study" in refused.failure
    assert (trained.failure, trained.failure_reason) == ("", "")


def test_a_task_that_raises_releases_its_lease_with_the_traceback(
    fake: Any, run_worker: Any, lane: Any, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('no data folder')\n")
    fake.offer(lane(0), task=task_pb2.Task(entry_point="broken:Task", source_path=str(tmp_path)))
    run_worker()
    (released,) = fake.released
    assert "no data folder" in released.failure
    assert "broken.py" in released.failure
    assert released.failure_reason == ""


def test_a_lane_that_diverges_fails_and_the_others_go_on(fake: Any, run_worker: Any, lane: Any) -> None:
    fake.offer(lane(0), lane(1, lr=1e30))
    run_worker()
    failed = [report for each in fake.rounds for report in each.reports if report.failure]
    assert [report.trial[-1] for report in failed] == ["1"]
    assert "training loss is" in failed[0].failure
    assert fake.measured().keys() == {("0", 4), ("0", 8)}


def test_a_metric_that_is_not_finite_fails_its_lane(fake: Any, run_worker: Any, lane: Any, tmp_path: Path) -> None:
    source = (tmp_path / "line.py").read_text()
    source += (
        "\n    def metrics(self, model, batch, hp):\n        return {'ratio': torch.zeros(()) / (hp['lr'] - 0.5)}\n"
    )
    (tmp_path / "ratios.py").write_text(source)
    task = task_pb2.Task(entry_point="ratios:Line", source_path=str(tmp_path))
    fake.offer(lane(0), lane(1, lr=0.5), task=task)
    run_worker()
    failed = [report for each in fake.rounds for report in each.reports if report.failure]
    assert [(report.trial[-1], report.failure) for report in failed] == [("1", "ratio is nan after 4 steps")]
    assert not failed[0].HasField("measurement")


def test_an_objective_that_the_task_never_reports_is_named(fake: Any, run_worker: Any, lane: Any) -> None:
    fake.offer(lane(0), objective=metric_pb2.Objective(metric="f1"))
    run_worker()
    (released,) = fake.released
    assert "never reports 'f1': it reports validation_loss" in released.failure


def test_what_a_trials_code_prints_is_in_its_log_alone(fake: Any, run_worker: Any, lane: Any) -> None:
    fake.offer(lane(0, lr=0.1), lane(1, lr=0.05), execution=bundle_pb2.EXECUTION_SEPARATE)
    run_worker()
    logs = {report.trial[-1]: report.log for report in fake.rounds[0].reports}
    assert "an optimizer with lr 0.1\n" in logs["0"]
    assert "lr 0.05" not in logs["0"]
    assert "an optimizer with lr 0.05\n" in logs["1"]


def test_a_lane_whose_checkpoint_is_gone_fails_and_names_the_file(fake: Any, run_worker: Any, lane: Any) -> None:
    missing = task_pb2.Artifact(uri="/nowhere/step-4.safetensors", digest="sha256:0")
    # Another takes its place before the bundle is built.
    fake.insertions = [lane(2)]
    fake.offer(lane(0), lane(1, checkpoint=missing, start_step=4))
    run_worker()
    failed = [report for each in fake.rounds for report in each.reports if report.failure]
    assert [report.trial[-1] for report in failed] == ["1"]
    assert "/nowhere/step-4.safetensors" in failed[0].failure
    assert fake.measured().keys() == {("0", 4), ("0", 8), ("2", 4), ("2", 8)}


def test_on_a_slot_only_the_time_inside_segments_counts(fake: Any, run_worker: Any, lane: Any, tmp_path: Path) -> None:
    gate = _open_gate(tmp_path)
    fake.offer(lane(0), gate="claim.gate")
    with _beating(gate):
        run_worker()
    assert fake.measured().keys() == {("0", 4), ("0", 8)}
    assert sum(each.device_seconds for each in fake.rounds) == pytest.approx(gate.used_ns / 1e9)
    assert gate.segments >= 8 * 4


def test_a_worker_that_waits_at_a_closed_gate_stops_when_it_is_told(
    fake: Any, run_worker: Any, lane: Any, tmp_path: Path, stopping: threading.Event
) -> None:
    gate = _open_gate(tmp_path)
    done = threading.Event()

    def close_in_the_middle_of_a_step() -> None:
        while not done.wait(0.001):
            gate.beat()
            if gate.segments >= 9:
                gate.close()
            if not gate.is_open and gate.acknowledged % 2 == 0 and gate.acknowledged:
                stopping.set()

    heart = threading.Thread(target=close_in_the_middle_of_a_step)
    heart.start()
    fake.offer(lane(0), gate="claim.gate", measured_steps=[100_000, 200_000])
    run_worker()
    done.set()
    heart.join()
    (kept,) = [report for each in fake.rounds for report in each.reports]
    assert _state(kept.checkpoint, kept.steps).step == kept.steps > 0
    assert not kept.HasField("measurement")
    (released,) = fake.released
    assert released.failure == ""


def test_a_slot_that_goes_ends_the_lease_without_blame(fake: Any, run_worker: Any, lane: Any, tmp_path: Path) -> None:
    gate = _open_gate(tmp_path)
    fake.on_round = gate.revoke
    fake.offer(lane(0), gate="claim.gate")
    with _beating(gate):
        run_worker()
    assert fake.measured().keys() == {("0", 4)}
    (released,) = fake.released
    assert released.failure == ""


def test_a_device_that_does_not_exist_ends_the_worker(fake: Any, run_worker: Any) -> None:
    fake.fault_at_acquire = NotFound("devices/test is not registered")
    with pytest.raises(NotFound):
        run_worker()


def test_a_bundle_runs_with_the_threads_of_its_plan_as_far_as_the_device_has_them(
    fake: Any, run_worker: Any, lane: Any, tmp_path: Path
) -> None:
    source = (tmp_path / "line.py").read_text()
    (tmp_path / "threaded.py").write_text(
        source.replace('"an optimizer with lr", hp["lr"]', '"threads", torch.get_num_threads()')
    )
    torch.set_num_threads(2)
    for threads in (1, 0, 16):
        task = task_pb2.Task(entry_point="threaded:Line", source_path=str(tmp_path))
        fake.offer(lane(0), threads=threads, measured_steps=[1], task=task)
    run_worker()
    logs = [report.log for each in fake.rounds for report in each.reports]
    assert [f"threads {count}\n" in log for count, log in zip((1, 2, 2), logs, strict=True)] == [True] * 3


def test_a_bundle_runs_so_many_lanes_at_once_as_its_plan_says(fake: Any, run_worker: Any, lane: Any) -> None:
    fake.offer(lane(0), lane(1), lane(2), micro_lanes=2)
    run_worker()
    assert fake.measured().keys() == {(str(trial), step) for trial in range(3) for step in (4, 8)}
    assert {each.fusion_count for each in fake.rounds} == {2}
