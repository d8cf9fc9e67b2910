"""The squeezer, a pipeline run and workers as real processes: bubbles are filled, and every death is survived."""

from __future__ import annotations

import bisect
import signal
from typing import TYPE_CHECKING

import pytest

from hydro.api.squeezer.v1 import squeezer_service_pb2 as messages
from hydro.kit.errors import FailedPrecondition, NotFound

if TYPE_CHECKING:
    from tests.integration.squeezer.conftest import BubbleSuite

LOST = 3


def wait_until_gone(suite: BubbleSuite) -> None:
    """The stream gives the state of now first, then each change."""
    for answer in suite.service.WatchSlots(messages.WatchSlotsRequest()):
        if not answer.slots:
            return


def wait_for_open_gate(suite: BubbleSuite, gate: str) -> None:
    page = suite.controller_gate(gate)
    while not (page.is_open and not page.is_quiet):
        pass


def bubble_at(bubbles: list[tuple[int, int]], stamp_ns: int) -> tuple[int, int]:
    return bubbles[bisect.bisect_right(bubbles, (stamp_ns, 2**63)) - 1]


def test_trials_run_only_in_bubbles_by_the_stamps_of_both_sides(suite: BubbleSuite) -> None:
    suite.start_squeezer()
    replay = suite.start_replay()
    slot = suite.slot()
    assert slot.name == "devices/local-cpu-1/slots/replay-1"
    assert slot.cpu_cores == [suite.core]
    assert 0 < slot.duty_cycle < 1
    assert slot.memory_bytes > 0
    suite.start_worker(suite.claim(slot.name, 1))
    suite.wait_for_segments(100)
    suite.wait_for_steps(25)
    statistics = suite.service.GetStatistics(messages.GetStatisticsRequest())
    replay.send_signal(signal.SIGTERM)
    assert replay.wait() == 0

    steps, segments = suite.steps(), suite.stamps()
    bubbles = sorted((begin, end) for step in steps for _, begin, end in step["bubbles"])
    segments = [each for each in segments if bubbles[0][0] <= each[0] <= bubbles[-1][1]]
    assert all(started <= deadline for started, deadline, _ in segments)
    # The run takes its own stamp a moment before it tells that the bubble has ended.
    outside = [each for each in segments if each[0] > bubble_at(bubbles, each[0])[1]]
    assert len(outside) <= 0.05 * len(segments)

    assert statistics.gates_opened > 0
    assert statistics.events_dropped == 0
    assert 0 < statistics.used_seconds <= statistics.bubble_seconds
    squeezed = [step for step in steps if step["squeezed"]]
    alone = [step for step in steps if step["watched"] and not step["squeezed"]]
    assert squeezed
    assert len(alone) >= 5
    assert all(step["gates_opened"] > 0 for step in squeezed if step["trial_seconds"] > 0.001)


def test_pipeline_run_computes_the_same_with_and_without_trials(suite: BubbleSuite) -> None:
    suite.start_squeezer()
    first = suite.start_replay()
    suite.start_worker(suite.claim(suite.slot().name, 1))
    suite.wait_for_segments(20)
    suite.wait_for_steps(3)
    first.send_signal(signal.SIGTERM)
    first.wait()
    squeezed = suite.steps()
    assert any(step["squeezed"] for step in squeezed)
    suite.steps_path.unlink()
    alone = suite.start_replay()
    suite.wait_for_steps(len(squeezed))
    alone.send_signal(signal.SIGTERM)
    alone.wait()
    assert not any(step["squeezed"] for step in suite.steps())
    assert [step["checksum"] for step in suite.steps()][: len(squeezed)] == [step["checksum"] for step in squeezed]


def test_squeezer_killed_in_an_open_bubble(suite: BubbleSuite) -> None:
    squeezer = suite.start_squeezer()
    replay = suite.start_replay()
    slot = suite.slot().name
    gate = suite.claim(slot, 1)
    worker = suite.start_worker(gate)
    suite.wait_for_segments(20)
    wait_for_open_gate(suite, gate)
    squeezer.kill()
    squeezer.wait()
    last_deadline_ns = suite.controller_gate(gate).deadline_ns
    assert worker.wait(timeout=30) == LOST
    assert all(started <= deadline <= last_deadline_ns for started, deadline, _ in suite.stamps())
    suite.wait_for_steps(3)
    leftover = suite.start_worker(gate)
    assert leftover.wait(timeout=30) == LOST

    suite.start_squeezer()
    assert suite.slot().name == slot
    assert not (suite.gate_directory / gate).exists()
    suite.start_worker(suite.claim(slot, 2))
    suite.wait_for_segments(20)
    assert replay.poll() is None


def test_worker_that_hangs_in_a_bubble_is_evicted_and_killed(suite: BubbleSuite) -> None:
    suite.start_squeezer()
    replay = suite.start_replay()
    slot = suite.slot().name
    hung = suite.start_worker(suite.claim(slot, 1), "hang")
    assert hung.wait(timeout=60) == -signal.SIGKILL
    with pytest.raises(FailedPrecondition) as refusal:
        suite.claim(slot, 1)
    assert refusal.value.reason == "LEASE_LOST"
    suite.start_worker(suite.claim(slot, 2))
    suite.wait_for_segments(20)
    assert replay.poll() is None


def test_worker_killed_in_a_bubble_leaves_the_slot_to_the_next(suite: BubbleSuite) -> None:
    suite.start_squeezer()
    suite.start_replay()
    slot = suite.slot().name
    gate = suite.claim(slot, 1)
    worker = suite.start_worker(gate)
    suite.wait_for_segments(20)
    wait_for_open_gate(suite, gate)
    worker.kill()
    suite.wait_for_steps(3)
    suite.start_worker(suite.claim(slot, 2))
    suite.wait_for_segments(20)


def test_claim_with_a_higher_token_takes_over_and_a_stale_one_is_refused(suite: BubbleSuite) -> None:
    suite.start_squeezer()
    suite.start_replay()
    slot = suite.slot().name
    gate = suite.claim(slot, 5)
    assert suite.claim(slot, 5) == gate
    worker = suite.start_worker(gate)
    suite.wait_for_segments(5)
    newer = suite.claim(slot, 6)
    assert newer != gate
    assert worker.wait(timeout=30) == LOST
    with pytest.raises(FailedPrecondition) as refusal:
        suite.claim(slot, 5)
    assert refusal.value.reason == "LEASE_LOST"
    suite.service.ReleaseSlot(messages.ReleaseSlotRequest(name=slot, fencing_token=5))
    assert suite.claim(slot, 6) == newer
    suite.service.ReleaseSlot(messages.ReleaseSlotRequest(name=slot, fencing_token=6))
    assert suite.start_worker(newer).wait(timeout=30) == LOST


def test_slot_vanishes_with_its_pipeline_run_and_comes_back_with_it(suite: BubbleSuite) -> None:
    suite.start_squeezer()
    replay = suite.start_replay()
    slot = suite.slot().name
    worker = suite.start_worker(suite.claim(slot, 1))
    suite.wait_for_segments(5)
    replay.kill()
    wait_until_gone(suite)
    assert worker.wait(timeout=30) == LOST
    with pytest.raises(NotFound, match="replay-1"):
        suite.claim(slot, 2)
    suite.service.ReleaseSlot(messages.ReleaseSlotRequest(name=slot, fencing_token=1))
    suite.start_replay()
    assert suite.slot().name == slot


def test_stage_that_hangs_loses_its_slot_and_gets_it_back_when_it_wakes(suite: BubbleSuite) -> None:
    suite.start_squeezer()
    replay = suite.start_replay()
    slot = suite.slot().name
    worker = suite.start_worker(suite.claim(slot, 1))
    suite.wait_for_segments(5)
    replay.send_signal(signal.SIGSTOP)
    wait_until_gone(suite)
    assert worker.wait(timeout=30) == LOST
    assert all(started <= deadline for started, deadline, _ in suite.stamps())
    replay.send_signal(signal.SIGCONT)
    assert suite.slot().name == slot
    suite.start_worker(suite.claim(slot, 2))
    suite.wait_for_segments(5)
    assert replay.poll() is None


def test_second_squeezer_of_a_device_does_not_start(suite: BubbleSuite) -> None:
    first = suite.start_squeezer()
    suite.start_replay()
    suite.slot()
    assert suite.start_squeezer().wait(timeout=30) != 0
    assert first.poll() is None
    first.send_signal(signal.SIGTERM)
    assert first.wait(timeout=30) == 0


def test_pipeline_run_needs_no_squeezer(suite: BubbleSuite) -> None:
    replay = suite.start_replay()
    suite.wait_for_steps(3)
    assert not any(step["watched"] or step["squeezed"] for step in suite.steps())
    replay.send_signal(signal.SIGTERM)
    assert replay.wait(timeout=30) == 0
