"""A worker as a process: runs short segments behind a gate and writes the stamps of each as a line.

Usage: bubble_worker.py GATE STAMPS CORE [hang]; with `hang` the third segment never ends.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from pathlib import Path

from hydro.squeezer.gate import GateLost
from hydro.squeezer.worker_gate import WorkerGate

SEGMENT_NS = 500_000
LOST = 3


def main() -> int:
    gate_path, stamps_path, core, *mode = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    try:
        gate = WorkerGate.attach(gate_path)
        with Path(stamps_path).open("a", encoding="utf-8") as stamps:
            for count in itertools.count():
                with gate.segment("spin"):
                    spin(hang=bool(mode) and count == 2)
                admission = gate.latest_admission
                assert admission is not None
                stamps.write(f"{admission.started_ns} {admission.deadline_ns} {time.monotonic_ns()}\n")
                stamps.flush()
    except GateLost as error:
        print(error, file=sys.stderr)
    return LOST


def spin(*, hang: bool) -> None:
    end_ns = time.monotonic_ns() + SEGMENT_NS
    while hang or time.monotonic_ns() < end_ns:
        pass


if __name__ == "__main__":
    sys.exit(main())
