from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.kit.errors import InvalidArgument
from hydro.squeezer.hooks.peers import Peers
from hydro.squeezer.hooks.recorded_schedule import RecordedSchedule
from hydro.squeezer.pipeline import Operation, OperationKind, Stage, bubble_share, one_forward_one_backward

STAGES = st.integers(2, 8)
MICROBATCHES = st.integers(1, 12)


def duration_ns(stage: int, operation: Operation) -> int:
    return 1000 if operation.kind is OperationKind.FORWARD else 2000


def replay(stages: int, stage: int, microbatches: int, late_ns: int = 0, late_index: int = 0) -> tuple[int, int]:
    """Gives the step's length and the real stage's idle time, when that stage itself takes as long as the peers."""
    peers = Peers(stages, stage, microbatches, 0, duration_ns)
    now_ns = idle_ns = 0
    for index, operation in enumerate(peers.order):
        ready_ns = peers.ready_ns(operation)
        idle_ns += max(0, ready_ns - now_ns)
        now_ns = max(now_ns, ready_ns) + duration_ns(stage, operation) + (late_ns if index == late_index else 0)
        peers.finished(operation, now_ns)
    end_ns = max(now_ns, peers.end_ns())
    return end_ns, idle_ns + end_ns - now_ns


@given(STAGES, MICROBATCHES, st.data())
def test_stage_computes_each_microbatch_forward_first(stages: int, microbatches: int, data: st.DataObject) -> None:
    stage = data.draw(st.integers(0, stages - 1))
    order = one_forward_one_backward(stages, stage, microbatches)
    for kind in OperationKind:
        assert [each.microbatch for each in order if each.kind is kind] == list(range(microbatches))
    for index in range(microbatches):
        forward, backward = Operation(OperationKind.FORWARD, index), Operation(OperationKind.BACKWARD, index)
        assert order.index(forward) < order.index(backward)


@given(STAGES, MICROBATCHES, st.data())
def test_stage_never_holds_more_microbatches_than_stages_follow_it(
    stages: int, microbatches: int, data: st.DataObject
) -> None:
    stage = data.draw(st.integers(0, stages - 1))
    held = most = 0
    for operation in one_forward_one_backward(stages, stage, microbatches):
        held += 1 if operation.kind is OperationKind.FORWARD else -1
        most = max(most, held)
    assert most <= min(stages - stage, microbatches)


@given(STAGES, MICROBATCHES, st.data())
def test_replayed_bubbles_are_what_the_theory_says(stages: int, microbatches: int, data: st.DataObject) -> None:
    stage = data.draw(st.integers(0, stages - 1))
    step_ns, idle_ns = replay(stages, stage, microbatches)
    assert step_ns == (microbatches + stages - 1) * 3000
    assert idle_ns / step_ns == pytest.approx(bubble_share(stages, microbatches))


@pytest.mark.parametrize("stage", range(4))
def test_delay_of_the_real_stage_comes_back_as_a_longer_step(stage: int) -> None:
    alone_ns, _ = replay(4, stage, 4)
    delayed_ns, _ = replay(4, stage, 4, late_ns=5000)
    assert delayed_ns == alone_ns + 5000


def test_packaged_recording_has_every_duration_of_its_schedule() -> None:
    recording = RecordedSchedule.load()
    assert (recording.schedule, recording.stages, recording.microbatches) == ("1F1B", 4, 4)
    for step in range(len(recording.steps) + 1):
        for stage in range(4):
            for operation in one_forward_one_backward(4, stage, 4):
                assert recording.seconds(step, stage, operation) > 0


def test_stage_with_wrong_fields_names_each_of_them() -> None:
    stage = Stage("Not a name", index=4, stages=4, microbatches=0, schedule="1F1B", event_page="../elsewhere")
    with pytest.raises(InvalidArgument) as refusal:
        stage.validate()
    assert [each.field for each in refusal.value.violations] == ["pipeline_run", "stage", "microbatches", "event_page"]
