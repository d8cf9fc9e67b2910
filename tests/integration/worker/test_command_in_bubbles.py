"""A command's program on a slot runs in its bubbles alone: real processes, real signals, a real gate page."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hydro.api.type.v1 import command_pb2
from hydro.squeezer.events import EventKind, EventWriter, StageWait
from hydro.squeezer.gate import ControllerGate

MINUTE_NS = 60_000_000_000
IN_BUBBLES = command_pb2.InBubbles(memory_bytes=1, shortest_seconds=0.005, grace_seconds=0.005)
LOSS = command_pb2.MetricsSource(
    log_pattern=command_pb2.LogPattern(pattern=r"step (?P<step>\d+) loss (?P<validation_loss>\S+)")
)
STAMPS = """
import time
for step in range(1, 41):
    print(f"at {time.monotonic_ns()}", flush=True)
    time.sleep(0.002)
print("step 1 loss 0.5", flush=True)
"""
SAVES = """
import pathlib, signal, sys, time
def save(*_):
    pathlib.Path(sys.argv[1]).write_text("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("step 1 loss 1", flush=True)
while True:
    time.sleep(0.01)
"""


class Slot:
    """The controller's side of a slot."""

    def __init__(self, folder: Path) -> None:
        self._stage = EventWriter.create(folder / "run.events")
        self.gate = ControllerGate.create(folder / "claim.gate", self._stage.path.name)
        self.bubbles: list[tuple[int, int]] = []

    def begin_bubble(self) -> None:
        self.bubbles.append((time.monotonic_ns(), 0))
        self._stage.write(EventKind.BEGIN, time.monotonic_ns())
        wait = StageWait.attach(self._stage.path).number
        self.gate.open(wait, time.monotonic_ns() + MINUTE_NS, MINUTE_NS)

    def end_bubble(self) -> None:
        self._stage.write(EventKind.END, time.monotonic_ns())
        self.gate.close()
        while not self.gate.is_quiet:
            time.sleep(0.0005)
        self.bubbles[-1] = (self.bubbles[-1][0], time.monotonic_ns())


@pytest.fixture
def slot(tmp_path: Path) -> Iterator[Slot]:
    made, done = Slot(tmp_path), threading.Event()

    def beat() -> None:
        while not done.wait(0.05):
            made.gate.beat()

    heart = threading.Thread(target=beat)
    heart.start()
    yield made
    done.set()
    heart.join()


@pytest.fixture
def turns(slot: Slot) -> Iterator[None]:
    """Bubbles come and go."""
    done = threading.Event()

    def run() -> None:
        while not done.is_set():
            slot.begin_bubble()
            time.sleep(0.03)
            slot.end_bubble()
            time.sleep(0.02)

    pipeline = threading.Thread(target=run)
    pipeline.start()
    yield
    done.set()
    pipeline.join()


def program(text: str, *arguments: str) -> dict[str, Any]:
    command = command_pb2.Command(
        arguments=[sys.executable, "-c", text, *arguments],
        stop_grace_seconds=60,
        metrics=[LOSS],
        in_bubbles=IN_BUBBLES,
    )
    return {"task": None, "measured_steps": [], "max_lanes": 1, "command": command, "gate": "claim.gate"}


def logged(fake: Any) -> str:
    return "".join(report.log for each in fake.rounds for report in each.reports)


def test_a_program_runs_in_bubbles_alone_and_its_time_in_them_counts(
    fake: Any, run_worker: Any, lane: Any, slot: Slot, turns: None
) -> None:
    fake.offer(lane(0), **program(STAMPS))
    run_worker()
    stamps = [int(line[3:]) for line in logged(fake).splitlines() if line.startswith("at ")]
    assert len(stamps) == 40
    assert all(any(begin <= stamp and (stamp <= end or not end) for begin, end in slot.bubbles) for stamp in stamps)
    assert slot.gate.segments > 1
    assert fake.measured() == {("0", 1): {"validation_loss": 0.5}}
    assert sum(each.device_seconds for each in fake.rounds) <= slot.gate.used_ns / 1e9
    assert fake.released[0].failure == ""


def test_a_slot_that_goes_gives_the_trial_back_and_leaves_nothing(
    fake: Any, run_worker: Any, lane: Any, slot: Slot
) -> None:
    slot.begin_bubble()
    fake.on_round = slot.gate.revoke
    fake.offer(
        lane(0), **program("import time\nprint('step 1 loss 1', flush=True)\ntime.sleep(1000)\n# of-a-slot-that-goes")
    )
    run_worker()
    (released,) = fake.released
    assert released.failure == ""
    assert not any(report.failure or report.finished for each in fake.rounds for report in each.reports)
    commands = [" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])]
    assert not [each for each in commands if "# of-a-slot-that-goes" in each]


def test_a_program_that_is_asked_to_end_saves_in_a_bubble(
    fake: Any, run_worker: Any, lane: Any, slot: Slot, turns: None, stopping: threading.Event, tmp_path: Path
) -> None:
    fake.on_round = stopping.set
    fake.offer(lane(0), **program(SAVES, str(tmp_path / "kept")))
    run_worker()
    assert (tmp_path / "kept").read_text() == "saved"
    (released,) = fake.released
    assert released.failure == ""
