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
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hydro.squeezer.gate import GateLost, Interrupted
from hydro.squeezer.worker_gate import Admission, WorkerGate

LOST: Final = 75
"""Exit code when the slot has gone: try again elsewhere (EX_TEMPFAIL of sysexits.h)."""
_LOOK_SECONDS: Final = 0.0005


class ProcessGate:
    """Moves one process group with the gate.

    Args:
        gate: of the slot.
        group: the process group, which is its leader's number too.
        has_ended: says whether the leader has ended.
        grace_seconds: from SIGTSTP to SIGSTOP.
        shortest_seconds: a bubble with less time left is not used.
    """

    def __init__(
        self,
        gate: WorkerGate,
        group: int,
        has_ended: Callable[[], bool],
        grace_seconds: float,
        shortest_seconds: float,
    ) -> None:
        self._gate = gate
        self._group = group
        self._has_ended = has_ended
        self._grace_ns = int(grace_seconds * 1e9)
        self._shortest_ns = int(shortest_seconds * 1e9) + self._grace_ns

    def run(self) -> None:
        """Returns when the program has ended.

        Raises:
            GateLost: the slot has gone; the program is stopped.
        """
        signal_group(self._group, signal.SIGSTOP)
        try:
            while not self._has_ended():
                with self._gate.bubble("program", self._shortest_ns, self._has_ended) as admission:
                    signal_group(self._group, signal.SIGCONT)
                    self._wait_for_end(admission)
                    self._stop(admission)
        except Interrupted:
            # It has ended at a closed gate.
            return

    def _wait_for_end(self, admission: Admission) -> None:
        stop_ns = admission.deadline_ns - self._grace_ns
        while self._gate.is_within(admission) and time.monotonic_ns() < stop_ns and not self._has_ended():
            time.sleep(_LOOK_SECONDS)

    def _stop(self, admission: Admission) -> None:
        signal_group(self._group, signal.SIGTSTP)
        end_ns = min(time.monotonic_ns() + self._grace_ns, admission.deadline_ns)
        while self._gate.is_within(admission) and time.monotonic_ns() < end_ns and not self._is_quiet():
            time.sleep(_LOOK_SECONDS)
        # Whoever is stopped already stays so; the leader may have stopped before its children.
        signal_group(self._group, signal.SIGSTOP)
        while not self._is_quiet():
            time.sleep(_LOOK_SECONDS)

    def _is_quiet(self) -> bool:
        return self._has_ended() or _state(self._group) in ("T", "Z")


def signal_group(group: int, number: signal.Signals) -> None:
    """Signals a process group, if there is any of it."""
    try:
        os.killpg(group, number)
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
    request = _RequestToEnd()
    try:
        process = subprocess.Popen(program, process_group=0)
        request.pass_on_to(process.pid)
        return _run(process, gate, options.grace_seconds, options.shortest_seconds)
    finally:
        gate.detach()
        request.forget()


class _RequestToEnd:
    """SIGTERM, passed on to the program: it takes effect in the next bubble, when the program runs again."""

    def __init__(self) -> None:
        self._group: int | None = None
        self._has_come = False
        self._before = signal.signal(signal.SIGTERM, self._come)

    def pass_on_to(self, group: int) -> None:
        """From now on, and what came while the program was started."""
        self._group = group
        if self._has_come:
            signal_group(group, signal.SIGTERM)

    def forget(self) -> None:
        """Leaves SIGTERM as it was."""
        signal.signal(signal.SIGTERM, self._before)

    def _come(self, *_: object) -> None:
        self._has_come = True
        if self._group is not None:
            signal_group(self._group, signal.SIGTERM)


def _run(process: subprocess.Popen[bytes], gate: WorkerGate, grace_seconds: float, shortest_seconds: float) -> int:
    try:
        ProcessGate(gate, process.pid, lambda: process.poll() is not None, grace_seconds, shortest_seconds).run()
    except GateLost as error:
        print(error, file=sys.stderr)  # noqa: T201
        return LOST
    finally:
        # A slot that has gone has no time for it, not even to end.
        signal_group(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


if __name__ == "__main__":
    sys.exit(main())
