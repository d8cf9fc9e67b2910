"""The real stage's process: runs blocks of steps as it is told, line by line, and answers each with what it saw.

Usage: python -m benchmarks.squeezer.stage GATE_DIRECTORY SQUEEZER_ADDRESS FORWARD_SECONDS DEVICE [CORE]
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import torch

from benchmarks.squeezer.peers import MICROBATCHES, STAGE, STAGES, RemotePeers
from hydro.kit.logging import configure_logging
from hydro.squeezer.events import EventWriter
from hydro.squeezer.hooks.events import StageEvents
from hydro.squeezer.hooks.replay import Replay, ReplayedStep
from hydro.squeezer.hooks.ring_events import RingEvents
from hydro.squeezer.hooks.stage_compute import StageCompute
from hydro.squeezer.hooks.stage_hook import StageHook
from hydro.squeezer.hooks.stage_reporter import StageDescription, StageReporter
from hydro.squeezer.hooks.stream_marks import StreamMarks

REACTIVE_RING = "reactive.events"
PIPELINE_RUN = "benchmark"


class Block:
    """The steps of one block. See `StepSink`."""

    def __init__(self) -> None:
        self.steps: list[ReplayedStep] = []

    def add(self, step: ReplayedStep) -> None:
        """Takes a step."""
        self.steps.append(step)

    def flush(self) -> None:
        """Nothing is written before the block's end."""


def main() -> None:
    """Runs blocks until standard input ends."""
    directory, address, forward = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    device, cores = torch.device(sys.argv[4]), tuple(map(int, sys.argv[5:]))
    configure_logging("stage", "WARNING")
    torch.set_num_threads(1)
    description = StageDescription(PIPELINE_RUN, STAGE, STAGES, MICROBATCHES, "1F1B", cores)
    # Before the core is set, so that its thread is not on it.
    reporter = StageReporter(description, directory, address)
    hook = StageHook([reporter], _marks(device))
    events: dict[str, StageEvents] = {
        "none": StageHook([]),
        "colocation": StageHook([]),
        "reactive": StageHook([RingEvents(EventWriter.create(directory / REACTIVE_RING))], _marks(device)),
        "predictive": hook,
    }
    others = os.sched_getaffinity(0)
    if cores:
        os.sched_setaffinity(0, cores)
    compute = StageCompute(forward, device=device)
    forward_seconds, backward_seconds = compute.measure()
    link, process = start_peers(others, forward_seconds, backward_seconds)
    numbers = itertools.count()
    say({"forward_seconds": forward_seconds, "backward_seconds": backward_seconds})
    for line in sys.stdin:
        order = json.loads(line)
        block, cost_ns = Block(), hook.cost_ns
        replay = Replay(partial(RemotePeers, link), compute, events[order["arm"]], block)
        replay.run(itertools.islice(numbers, order["steps"]), lambda: False)
        say(
            {
                "seconds": [step.seconds for step in block.steps],
                "bubble_seconds": sum(step.bubble_seconds for step in block.steps),
                "hook_seconds": (hook.cost_ns - cost_ns) / 1e9,
            }
        )
    link.close()
    process.wait()
    reporter.close()


def _marks(device: torch.device) -> StreamMarks | None:
    return StreamMarks() if device.type == "cuda" else None


def start_peers(
    cores: set[int], forward_seconds: float, backward_seconds: float
) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Starts the peers on their cores."""
    mine, theirs = socket.socketpair()
    words = (str(theirs.fileno()), str(forward_seconds), str(backward_seconds))
    command = [sys.executable, "-m", "benchmarks.squeezer.peers", *words]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    os.sched_setaffinity(process.pid, cores)
    theirs.close()
    return mine, process


def say(message: dict[str, object]) -> None:
    """One line to the benchmark."""
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main()
