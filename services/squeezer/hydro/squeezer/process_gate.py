"""Runs a program that knows no gate in bubbles, by signals: `python -m hydro.squeezer.process_gate --help`.

Each bubble continues the program (SIGCONT) and asks it to stop before the deadline (SIGTSTP); what has not stopped when
the grace is over is stopped (SIGSTOP). The last resort for programs that cannot be asked to train in segments:

* A bubble loses the grace at its end, and pays about a millisecond for the signals.
* SIGSTOP stops the processor, not the GPU: what the program has launched runs on into the pipeline run's time.
* A program that is stopped while it holds a lock, or a connection with a deadline, may fail by it.
* SIGTSTP reaches a program's own handler only where its terminal's session allows it, else SIGSTOP does all of it.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from hydro.squeezer.gate import GateLost
from hydro.squeezer.worker_gate import Admission, WorkerGate

LOST: Final = 75
"""Exit code when the slot has gone: try again elsewhere (EX_TEMPFAIL of sysexits.h)."""
_LOOK_SECONDS: Final = 0.0005
_END_SECONDS: Final = 5.0


class ProcessGate:
    """Moves one process group with the gate.

    Args:
        gate: of the slot.
        process: leader of a process group of its own.
        grace_seconds: from SIGTSTP to SIGSTOP.
        shortest_seconds: a bubble with less time left is not used.
    """

    def __init__(
        self, gate: WorkerGate, process: subprocess.Popen[bytes], grace_seconds: float, shortest_seconds: float
    ) -> None:
        self._gate = gate
        self._process = process
        self._grace_ns = int(grace_seconds * 1e9)
        self._shortest_ns = int(shortest_seconds * 1e9) + self._grace_ns

    def run(self) -> int:
        """Returns the program's exit code.

        Raises:
            GateLost: the slot has gone; the program is stopped.
        """
        self._signal(signal.SIGSTOP)
        while self._process.poll() is None:
            with self._gate.bubble("program", self._shortest_ns) as admission:
                self._signal(signal.SIGCONT)
                self._wait_for_end(admission)
                self._stop(admission)
        return self._process.returncode

    def end(self) -> None:
        """Has the program end, by force when it does not within seconds."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()

    def _wait_for_end(self, admission: Admission) -> None:
        stop_ns = admission.deadline_ns - self._grace_ns
        while self._gate.is_within(admission) and time.monotonic_ns() < stop_ns and self._process.poll() is None:
            time.sleep(_LOOK_SECONDS)

    def _stop(self, admission: Admission) -> None:
        self._signal(signal.SIGTSTP)
        end_ns = min(time.monotonic_ns() + self._grace_ns, admission.deadline_ns)
        while self._gate.is_within(admission) and time.monotonic_ns() < end_ns and not self._is_quiet():
            time.sleep(_LOOK_SECONDS)
        # Whoever is stopped already stays so; the leader may have stopped before its children.
        self._signal(signal.SIGSTOP)
        while not self._is_quiet():
            time.sleep(_LOOK_SECONDS)

    def _is_quiet(self) -> bool:
        return self._process.poll() is not None or _state(self._process.pid) in ("T", "Z")

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return


def _state(pid: int) -> str:
    """Gives the letter of /proc for what the process does; Z when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grace-seconds", type=float, default=0.005, help="from SIGTSTP to SIGSTOP")
    parser.add_argument("--shortest-seconds", type=float, default=0.005, help="a bubble must have so much left")
    parser.add_argument("gate", type=Path, help="file of the claim's gate")
    parser.add_argument("program", nargs=argparse.REMAINDER, help="and its arguments")
    options = parser.parse_args(arguments)
    program = options.program[1:] if options.program[:1] == ["--"] else options.program
    if not program:
        parser.error("name the program to run, after --")
    try:
        gate = WorkerGate.attach(options.gate)
    except GateLost as error:
        print(error, file=sys.stderr)  # noqa: T201
        return LOST
    running = ProcessGate(
        gate, subprocess.Popen(program, process_group=0), options.grace_seconds, options.shortest_seconds
    )
    try:
        return running.run()
    except GateLost as error:
        print(error, file=sys.stderr)  # noqa: T201
        return LOST
    finally:
        running.end()
        gate.detach()


if __name__ == "__main__":
    sys.exit(main())
