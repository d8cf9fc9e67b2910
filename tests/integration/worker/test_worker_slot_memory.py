"""A worker on a slot fits its lanes to the memory as it changes, and changes no result by it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hydro.squeezer.events import EventKind, EventWriter, StageWait
from hydro.squeezer.gate import ControllerGate

HOUR_NS = 3_600_000_000_000


@pytest.fixture(autouse=True)
def looks_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the process is said to hold 800 bytes."""
    monkeypatch.setattr("hydro.worker.slot_memory.LOOK_SECONDS", 0.0)
    monkeypatch.setattr("hydro.worker.bundle_memory.peak_bytes", lambda device: 800)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[ControllerGate]:
    """A gate in a bubble of an hour, whose controller lives."""
    stage = EventWriter.create(tmp_path / "run.events")
    made, done = ControllerGate.create(tmp_path / "claim.gate", stage.path.name), threading.Event()
    stage.write(EventKind.BEGIN, time.monotonic_ns())
    made.open(StageWait.attach(stage.path).number, time.monotonic_ns() + HOUR_NS, HOUR_NS)

    def beat() -> None:
        while not done.wait(0.05):
            made.beat()

    heart = threading.Thread(target=beat)
    heart.start()
    yield made
    done.set()
    heart.join()


def offer(fake: Any, lane: Any) -> None:
    fake.offer(*(lane(number, lr=0.1 / (1 + number)) for number in range(4)), gate="claim.gate")


def test_lanes_wait_while_memory_is_short_and_train_on_as_if_they_had_not(
    fake: Any, run_worker: Any, lane: Any, gate: ControllerGate
) -> None:
    offer(fake, lane)
    run_worker()
    undisturbed, before = fake.measured(), len(fake.rounds)
    gate.tell_memory_room(-400)
    fake.on_round = lambda: gate.tell_memory_room(1 << 50)
    offer(fake, lane)
    run_worker()
    aside, *later = fake.rounds[before:]
    assert [each.trial.rsplit("/", 1)[1] for each in aside.reports] == ["2", "3"]
    assert all(each.HasField("checkpoint") and not each.HasField("measurement") for each in aside.reports)
    assert aside.free_lanes == 0
    assert {each.fusion_count for each in later} == {4}
    assert fake.measured() == undisturbed
    assert undisturbed.keys() == {(str(number), step) for number in range(4) for step in (4, 8)}


def test_lanes_wait_for_others_to_end_while_memory_stays_short(
    fake: Any, run_worker: Any, lane: Any, gate: ControllerGate
) -> None:
    gate.tell_memory_room(-400)
    fake.on_round = lambda: gate.tell_memory_room(0)
    offer(fake, lane)
    run_worker()
    assert {each.fusion_count for each in fake.rounds[1:]} == {2}
    assert fake.measured().keys() == {(str(number), step) for number in range(4) for step in (4, 8)}


def test_lanes_go_back_where_not_one_fits_any_more(fake: Any, run_worker: Any, lane: Any, gate: ControllerGate) -> None:
    gate.tell_memory_room(-(1 << 50))
    offer(fake, lane)
    run_worker()
    (last,) = fake.rounds
    assert len(last.reports) == 4
    assert all(each.HasField("checkpoint") for each in last.reports)
    assert [each.failure for each in fake.released] == [""]
