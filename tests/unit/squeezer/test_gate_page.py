from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hydro.squeezer.device_lock import revoke_leftover_gates
from hydro.squeezer.events import EventKind, EventWriter, StageWait
from hydro.squeezer.gate import ControllerGate, GateLost, Interrupted, SegmentDoesNotFit
from hydro.squeezer.shared_page import HEADER_WORDS, SharedPage, boot_number
from hydro.squeezer.worker_gate import WorkerGate

SECOND_NS = 1_000_000_000
MAGIC, VERSION, BOOT = range(3)


@pytest.fixture
def stage(tmp_path: Path) -> EventWriter:
    return EventWriter.create(tmp_path / "run-1.events")


@pytest.fixture
def controller(stage: EventWriter) -> ControllerGate:
    return ControllerGate.create(stage.path.with_name("page.gate"), stage.path.name)


@pytest.fixture
def worker(controller: ControllerGate) -> Iterator[WorkerGate]:
    gate = WorkerGate.attach(controller.path)
    yield gate
    gate.detach()


def open_for(controller: ControllerGate, stage: EventWriter, seconds: float, longest_seconds: float = 0.0) -> None:
    """A bubble begins, and the gate opens in it."""
    stage.write(EventKind.BEGIN, time.monotonic_ns())
    wait = StageWait.attach(stage.path).number
    controller.open(wait, time.monotonic_ns() + int(seconds * 1e9), int((longest_seconds or seconds) * 1e9))


def run_in_thread(worker: WorkerGate) -> tuple[threading.Thread, list[str]]:
    outcome: list[str] = []

    def work() -> None:
        try:
            with worker.segment("forward"):
                outcome.append("ran")
        except GateLost as error:
            outcome.append(type(error).__name__)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread, outcome


def words_of(controller: ControllerGate) -> SharedPage:
    return controller._page


def test_segment_runs_when_the_gate_is_open(controller: ControllerGate, stage: EventWriter, worker: WorkerGate) -> None:
    open_for(controller, stage, 60)
    with worker.segment("forward"):
        assert not controller.is_quiet
    assert controller.is_quiet
    assert controller.segments == 1
    assert controller.used_ns == pytest.approx(worker.used_seconds * 1e9)


def test_segment_waits_until_the_gate_opens(controller: ControllerGate, stage: EventWriter, worker: WorkerGate) -> None:
    thread, outcome = run_in_thread(worker)
    thread.join(timeout=0.05)
    assert outcome == []
    open_for(controller, stage, 60)
    thread.join()
    assert outcome == ["ran"]


def test_admission_tells_the_opening_it_belongs_to(
    controller: ControllerGate, stage: EventWriter, worker: WorkerGate
) -> None:
    open_for(controller, stage, 60)
    with worker.segment("forward"):
        admission = worker.latest_admission
    assert admission is not None
    assert admission.started_ns <= admission.deadline_ns == controller.deadline_ns


def test_bubble_that_ends_early_stops_the_worker_before_the_controller_sees_it(
    controller: ControllerGate, stage: EventWriter, worker: WorkerGate
) -> None:
    open_for(controller, stage, 60)
    stage.write(EventKind.END, time.monotonic_ns())
    thread, outcome = run_in_thread(worker)
    thread.join(timeout=0.05)
    assert controller.is_open
    assert outcome == []
    open_for(controller, stage, 60)
    thread.join()
    assert outcome == ["ran"]


def test_stage_whose_ring_is_gone_is_a_lost_gate(controller: ControllerGate, stage: EventWriter) -> None:
    stage.close()
    with pytest.raises(GateLost, match="run-1.events"):
        WorkerGate.attach(controller.path)


def test_segment_whose_deadline_has_passed_does_not_start(
    controller: ControllerGate, stage: EventWriter, worker: WorkerGate
) -> None:
    open_for(controller, stage, -1.0, 1.0)
    thread, outcome = run_in_thread(worker)
    thread.join(timeout=0.05)
    assert controller.is_open
    assert outcome == []
    open_for(controller, stage, 60)
    thread.join()
    assert outcome == ["ran"]


def test_unknown_segment_starts_only_with_most_of_the_longest_bubble_left(
    controller: ControllerGate, stage: EventWriter, worker: WorkerGate
) -> None:
    open_for(controller, stage, 30, 60)
    thread, outcome = run_in_thread(worker)
    thread.join(timeout=0.05)
    assert outcome == []
    open_for(controller, stage, 50, 60)
    thread.join()
    assert outcome == ["ran"]


def test_segment_that_outlasts_its_bubble_is_counted_late(
    controller: ControllerGate, stage: EventWriter, worker: WorkerGate
) -> None:
    open_for(controller, stage, 60)
    with worker.segment("forward"):
        stage.write(EventKind.END, time.monotonic_ns() - SECOND_NS)
        assert controller.overdue_ns() == 0
    assert 0 < controller.late_ns <= controller.used_ns


def test_segment_that_fails_leaves_the_gate_quiet(
    controller: ControllerGate, stage: EventWriter, worker: WorkerGate
) -> None:
    open_for(controller, stage, 60)
    with pytest.raises(ZeroDivisionError), worker.segment("forward"):
        raise ZeroDivisionError
    assert controller.is_quiet


def test_synchronization_is_part_of_the_segment(controller: ControllerGate, stage: EventWriter) -> None:
    seen = []
    worker = WorkerGate.attach(controller.path, synchronize=lambda: seen.append(controller.is_quiet))
    open_for(controller, stage, 60)
    with worker.segment("forward"):
        pass
    worker.detach()
    assert seen == [False]


def test_worker_acknowledges_that_it_is_quiet(
    controller: ControllerGate, stage: EventWriter, worker: WorkerGate
) -> None:
    open_for(controller, stage, 60)
    controller.close()
    thread, outcome = run_in_thread(worker)
    thread.join(timeout=0.05)
    assert controller.acknowledged == 2
    controller.revoke()
    thread.join()
    assert outcome == ["GateLost"]


def test_revoked_gate_wakes_and_refuses_the_worker(
    controller: ControllerGate, stage: EventWriter, worker: WorkerGate
) -> None:
    controller.revoke()
    with pytest.raises(GateLost, match="has ended"), worker.segment("forward"):
        pytest.fail("the block must not run")
    assert not controller.path.exists()


def test_silent_controller_is_a_lost_gate(controller: ControllerGate) -> None:
    worker = WorkerGate.attach(controller.path, heartbeat_timeout_seconds=0.3)
    with pytest.raises(GateLost, match="silent"), worker.segment("forward"):
        pytest.fail("the block must not run")
    worker.detach()


def test_page_of_an_earlier_life_is_recognised(controller: ControllerGate) -> None:
    words_of(controller).words[HEADER_WORDS + 5] = time.monotonic_ns() - 10 * SECOND_NS
    with pytest.raises(GateLost, match="earlier life"):
        WorkerGate.attach(controller.path)


@pytest.mark.parametrize(
    ("word", "value", "name"),
    [(MAGIC, 7, "magic"), (VERSION, 99, "version"), (BOOT, boot_number() ^ 1, "boot")],
)
def test_damaged_page_is_refused(controller: ControllerGate, word: int, value: int, name: str) -> None:
    words_of(controller).words[word] = value
    with pytest.raises(GateLost, match=name):
        WorkerGate.attach(controller.path)


def test_missing_or_short_page_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GateLost, match="cannot be opened"):
        WorkerGate.attach(tmp_path / "none.gate")
    (tmp_path / "short.gate").write_bytes(b"123")
    with pytest.raises(GateLost, match="3 bytes"):
        WorkerGate.attach(tmp_path / "short.gate")


def test_leftover_gates_of_the_device_are_revoked_and_others_kept(tmp_path: Path, stage: EventWriter) -> None:
    mine, other = (
        ControllerGate.create(tmp_path / f"{device}.a.gate", stage.path.name) for device in ("gpu-1", "gpu-10")
    )
    damaged = tmp_path / "gpu-1.b.gate"
    damaged.write_bytes(b"no page")
    worker = WorkerGate.attach(mine.path)
    assert revoke_leftover_gates(tmp_path, "gpu-1") == 2
    assert not mine.path.exists()
    assert not damaged.exists()
    assert other.path.exists()
    with pytest.raises(GateLost), worker.segment("forward"):
        pytest.fail("the block must not run")
    worker.detach()


def test_segment_longer_than_every_bubble_is_told(
    controller: ControllerGate, stage: EventWriter, worker: WorkerGate
) -> None:
    for _ in range(5):
        worker._durations.add("forward", SECOND_NS)
    open_for(controller, stage, 0.5)
    with pytest.raises(SegmentDoesNotFit, match="1000.0 ms"), worker.segment("forward"):
        pytest.fail("the block must not run")


def test_segment_that_finds_no_bubble_for_too_long_is_told(controller: ControllerGate) -> None:
    worker = WorkerGate.attach(controller.path, patience_seconds=0.1)
    with pytest.raises(SegmentDoesNotFit, match="no bubble"), worker.segment("forward"):
        pytest.fail("the block must not run")
    worker.detach()


def test_worker_that_waits_at_a_closed_gate_can_be_interrupted(controller: ControllerGate) -> None:
    interrupted = threading.Event()
    worker = WorkerGate.attach(controller.path, is_interrupted=interrupted.is_set)
    outcome: list[str] = []

    def work() -> None:
        try:
            with worker.segment("forward"):
                outcome.append("ran")
        except Interrupted:
            outcome.append("interrupted")

    thread = threading.Thread(target=work)
    thread.start()
    interrupted.set()
    thread.join()
    worker.detach()
    assert outcome == ["interrupted"]
    assert controller.is_quiet


def test_segment_that_pauses_runs_on_in_the_next_bubble(
    controller: ControllerGate, stage: EventWriter, worker: WorkerGate
) -> None:
    open_for(controller, stage, 60)
    passed: list[str] = []

    def work() -> None:
        with worker.segment("forward"):
            time.sleep(0.001)
            passed.append("first part")
            stage.write(EventKind.END, time.monotonic_ns())
            worker.pause()
            passed.append("second part")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=0.05)
    assert passed == ["first part"]
    assert controller.is_quiet
    open_for(controller, stage, 60)
    thread.join()
    assert passed == ["first part", "second part"]
    assert controller.segments == 2


def test_pause_right_after_a_part_began_is_not_taken(
    controller: ControllerGate, stage: EventWriter, worker: WorkerGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hydro.squeezer.worker_gate._SHORTEST_PART_NS", SECOND_NS)
    open_for(controller, stage, 60)
    with worker.segment("forward"):
        worker.pause()
    worker.pause()
    assert controller.segments == 1


def test_segments_that_are_known_to_be_short_do_not_pause(
    controller: ControllerGate, stage: EventWriter, worker: WorkerGate
) -> None:
    open_for(controller, stage, 60)
    for name in 5 * ("forward", "backward"):
        with worker.segment(name):
            pass
    with worker.segment("forward"):
        assert worker.pause is None
    with worker.segment("validation"):
        assert worker.pause is not None


def test_segments_that_take_most_of_the_longest_bubble_pause_however_short_they_are(
    controller: ControllerGate, stage: EventWriter, worker: WorkerGate
) -> None:
    open_for(controller, stage, 60, longest_seconds=0.0015)
    for name in 5 * ("forward", "backward"):
        with worker.segment(name):
            time.sleep(0.001)
    with worker.segment("forward"):
        assert worker.pause is not None


def test_slot_that_goes_at_a_pause_leaves_the_gate_quiet(
    controller: ControllerGate, stage: EventWriter, worker: WorkerGate
) -> None:
    open_for(controller, stage, 60)
    with pytest.raises(GateLost), worker.segment("backward"):
        time.sleep(0.001)
        controller.revoke()
        worker.pause()
    assert controller.is_quiet


@pytest.mark.parametrize("garbage", [0xFFFF_FFFF_FFFF_FFFF, 0xDEAD_BEEF])
def test_page_that_is_overwritten_in_use_lets_nothing_run(
    controller: ControllerGate, stage: EventWriter, worker: WorkerGate, garbage: int
) -> None:
    open_for(controller, stage, 60)
    page = words_of(controller)
    for word in range(HEADER_WORDS, len(page.words)):
        page.words[word] = garbage
    with pytest.raises(GateLost), worker.segment("forward"):
        pytest.fail("the block must not run")


def test_controller_sees_who_has_the_page(controller: ControllerGate) -> None:
    assert controller.worker_silence_ns() is None
    assert not controller.worker_has_page()
    worker = WorkerGate.attach(controller.path)
    assert controller.worker_silence_ns() is not None
    assert controller.worker_has_page()
    worker.detach()
    assert controller.worker_silence_ns() is None


def test_each_page_has_an_epoch_of_its_own(tmp_path: Path) -> None:
    first = ControllerGate.create(tmp_path / "page.gate", "run-1.events")
    second = ControllerGate.create(tmp_path / "page.gate", "run-1.events")
    assert words_of(first).epoch != words_of(second).epoch
