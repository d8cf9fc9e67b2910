"""A program that knows no gate is moved by signals."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hydro.squeezer import process_gate
from hydro.squeezer.events import EventKind, EventWriter, StageWait
from hydro.squeezer.gate import ControllerGate
from hydro.squeezer.process_gate import LOST, ProcessGate
from hydro.squeezer.worker_gate import WorkerGate

STAMPS = "import sys, time\nwhile True:\n    print(time.monotonic_ns(), flush=True)\n    time.sleep(0.001)\n"
SECOND_NS = 1_000_000_000


@pytest.fixture
def stage(tmp_path: Path) -> EventWriter:
    return EventWriter.create(tmp_path / "run-1.events")


@pytest.fixture
def controller(stage: EventWriter) -> ControllerGate:
    return ControllerGate.create(stage.path.with_name("page.gate"), stage.path.name)


def begin_bubble(controller: ControllerGate, stage: EventWriter) -> int:
    stage.write(EventKind.BEGIN, time.monotonic_ns())
    now_ns = time.monotonic_ns()
    controller.open(StageWait.attach(stage.path).number, now_ns + 60 * SECOND_NS, 60 * SECOND_NS)
    return now_ns


def test_program_runs_only_in_bubbles(controller: ControllerGate, stage: EventWriter, tmp_path: Path) -> None:
    output = tmp_path / "stamps"
    with output.open("wb") as stamps:
        program = subprocess.Popen([sys.executable, "-S", "-c", STAMPS], stdout=stamps, process_group=0)
    gate = WorkerGate.attach(controller.path)
    moved = ProcessGate(
        gate, program.pid, lambda: program.poll() is not None, grace_seconds=0.005, shortest_seconds=0.005
    )
    outcome: list[str] = []

    def run() -> None:
        try:
            moved.run()
        except process_gate.GateLost:
            outcome.append("lost")

    thread = threading.Thread(target=run)
    thread.start()
    bubbles: list[tuple[int, int]] = []
    for count in (5, 10):
        begin_ns = begin_bubble(controller, stage)
        while len(output.read_bytes().splitlines()) < count:
            time.sleep(0.001)
        stage.write(EventKind.END, time.monotonic_ns())
        controller.close()
        while not controller.is_quiet:
            time.sleep(0.0002)
        bubbles.append((begin_ns, time.monotonic_ns()))
        time.sleep(0.02)
    controller.revoke()
    thread.join()
    program.kill()
    program.wait()
    gate.detach()
    written = [int(line) for line in output.read_text().splitlines() if len(line) > 10]
    assert outcome == ["lost"]
    # Before it was stopped for the first time it may have begun.
    later = [stamp for stamp in written if stamp > bubbles[0][0]]
    assert len(later) >= 5
    assert all(any(begin <= stamp <= end for begin, end in bubbles) for stamp in later)


def test_a_program_that_ends_at_a_closed_gate_waits_for_no_bubble(controller: ControllerGate) -> None:
    gate = WorkerGate.attach(controller.path)
    ended = threading.Event()
    program = subprocess.Popen(["sleep", "60"], process_group=0)
    moved = ProcessGate(gate, program.pid, ended.is_set, grace_seconds=0.005, shortest_seconds=0.005)
    thread = threading.Thread(target=moved.run)
    thread.start()
    program.kill()
    program.wait()
    ended.set()
    thread.join(timeout=30)
    gate.detach()
    assert not thread.is_alive()


def test_a_request_to_end_reaches_the_program_in_its_next_bubble(
    controller: ControllerGate, stage: EventWriter, tmp_path: Path
) -> None:
    begin_bubble(controller, stage)
    text = f"trap 'echo asked > {tmp_path}/said; exit 3' TERM; kill -TERM $PPID; while true; do sleep 0.01; done"
    assert process_gate.main([str(controller.path), "--", "/bin/sh", "-c", text]) == 3
    assert (tmp_path / "said").read_text() == "asked\n"


def test_a_slot_that_goes_ends_the_program_at_once(controller: ControllerGate, stage: EventWriter) -> None:
    begin_bubble(controller, stage)
    threading.Timer(0.1, controller.revoke).start()
    assert process_gate.main([str(controller.path), "--", "/bin/sh", "-c", "trap '' TERM; sleep 60"]) == LOST


def test_exit_code_of_the_program_is_the_answer(controller: ControllerGate, stage: EventWriter) -> None:
    begin_bubble(controller, stage)
    assert process_gate.main([str(controller.path), "--", "/bin/sh", "-c", "exit 7"]) == 7


def test_slot_that_has_gone_says_so_by_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert process_gate.main([str(tmp_path / "none.gate"), "--", "true"]) == LOST
    assert "none.gate" in capsys.readouterr().err
