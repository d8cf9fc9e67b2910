"""What a worker does when lanes are to go on from others, or with other hyperparameters: real training, real gRPC."""

from __future__ import annotations

from typing import Any

import pytest

from hydro.api.coordinator.v1 import worker_service_pb2 as worker_pb
from hydro.api.type.v1 import bundle_pb2
from hydro.kit.values import value_messages


def _clone(request: Any, child: int, parent: int, lr: float) -> list[worker_pb.LaneClone]:
    """At step 4 the child goes on from the parent's checkpoint."""
    at_four = {report.trial[-1]: report for report in request.reports if report.measurement.step == 4}
    if str(child) not in at_four:
        return []
    lane = bundle_pb2.Lane(
        trial=at_four[str(child)].trial,
        hyperparameters=value_messages({"lr": lr}),
        seed=child,
        checkpoint=at_four[str(parent)].checkpoint,
        start_step=4,
    )
    return [worker_pb.LaneClone(lane=lane, parent=at_four[str(parent)].trial)]


@pytest.mark.parametrize("execution", [bundle_pb2.EXECUTION_FUSED, bundle_pb2.EXECUTION_SEPARATE])
def test_a_lane_goes_on_from_a_live_one_as_a_run_from_its_checkpoint_would(
    fake: Any, run_worker: Any, lane: Any, execution: Any
) -> None:
    fake.clone = lambda request: _clone(request, 1, 0, 0.02)
    fake.offer(lane(0), lane(1, lr=0.05), execution=execution)
    run_worker()
    cloned, first_round = fake.measured()["1", 8], fake.rounds[0]
    log = "".join(report.log for each in fake.rounds for report in each.reports if report.trial.endswith("1"))
    assert "goes on from" in log
    parent = first_round.reports[0].checkpoint
    fake.rounds.clear()
    fake.clone = lambda request: []
    fake.offer(lane(1, lr=0.02, checkpoint=parent, start_step=4), execution=execution)
    run_worker()
    assert fake.measured()["1", 8] == pytest.approx(cloned, rel=1e-6)


def test_a_lane_whose_parent_is_elsewhere_goes_on_from_the_stored_checkpoint(
    fake: Any, run_worker: Any, lane: Any
) -> None:
    fake.offer(lane(0))
    run_worker()
    parent = fake.rounds[0].reports[0]
    fake.rounds.clear()

    def from_elsewhere(request: Any) -> list[worker_pb.LaneClone]:
        (clone,) = _clone(request, 1, 1, 0.1) or [None]
        if clone is None:
            return []
        clone.lane.checkpoint.CopyFrom(parent.checkpoint)
        clone.parent = parent.trial
        return [clone]

    fake.clone = from_elsewhere
    fake.offer(lane(1, lr=0.05), lane(2))
    run_worker()
    fake.clone = lambda request: []
    cloned = fake.measured()["1", 8]
    fake.rounds.clear()
    fake.offer(lane(1, lr=0.1, checkpoint=parent.checkpoint, start_step=4))
    run_worker()
    assert cloned == pytest.approx(fake.measured()["1", 8], rel=1e-6)


def test_a_target_goes_through_its_schedule(fake: Any, run_worker: Any, lane: Any) -> None:
    """The rate changes between two measurements and at one, also when the worker begins again after the change."""
    whole = lane(0)
    for step, lr in ((2, 0.05), (4, 0.01)):
        whole.changes.append(bundle_pb2.LaneChange(step=step, hyperparameters=value_messages({"lr": lr})))
    fake.offer(whole)
    run_worker()
    replayed = fake.measured()["0", 8]
    after_four = lane(0, lr=0.01, checkpoint=fake.rounds[0].reports[0].checkpoint, start_step=4)
    fake.rounds.clear()
    fake.offer(after_four)
    run_worker()
    assert fake.measured()["0", 8] == pytest.approx(replayed, rel=1e-6)
    fake.rounds.clear()
    fake.offer(lane(0))
    run_worker()
    assert fake.measured()["0", 8] != pytest.approx(replayed, rel=1e-3)
