"""Replays one stage of a recorded 1F1B pipeline run: `python -m hydro.squeezer.hooks.replay --help`.

The stage's compute is real torch work on one core in real time; its peers are simulated from the recording, and wait
for the stage as the real ones would. With a squeezer's address the stage's bubbles are offered to trials.

Each step is written as one line of JSON to `--output`:

    step              its number
    begin_ns          when it began, monotonic clock
    seconds           how long it took
    bubble_seconds    of this, the time in which the stage had nothing to do
    bubbles           each as [schedule index, begin_ns, end_ns]
    watched           a squeezer read the stage's events
    gates_opened      how often it opened the gate in this step
    trial_seconds     how long trials worked in the step's bubbles
    squeezed          trials did work in it; else the step stands for the run alone
    checksum          of the last microbatch's output: the same with and without a squeezer
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Protocol, TextIO

import torch

from hydro.squeezer.hooks.events import Activity, StageEvents
from hydro.squeezer.hooks.peers import DurationNs, Meeting, Peers
from hydro.squeezer.hooks.recorded_schedule import RecordedSchedule
from hydro.squeezer.hooks.stage_compute import StageCompute
from hydro.squeezer.hooks.stage_hook import StageHook
from hydro.squeezer.hooks.stage_reporter import StageDescription, StageReporter
from hydro.squeezer.pipeline import Operation, OperationKind

_ACTIVITIES: Final = {OperationKind.FORWARD: Activity.FORWARD, OperationKind.BACKWARD: Activity.BACKWARD}


@dataclass(slots=True)
class ReplayedStep:
    """One line of the output."""

    step: int
    begin_ns: int
    seconds: float = 0.0
    bubble_seconds: float = 0.0
    bubbles: list[tuple[int, int, int]] = field(default_factory=list)
    watched: bool = False
    gates_opened: int = 0
    trial_seconds: float = 0.0
    squeezed: bool = False
    checksum: float = 0.0


class StepLog:
    """Writes steps, with what the squeezer says it did in them.

    A step is written once the next one's first operation is done: the squeezer's account of a step's last bubble
    arrives a little after its end.
    """

    def __init__(self, output: TextIO, reporter: StageReporter | None) -> None:
        self._output = output
        self._reporter = reporter
        self._pending: ReplayedStep | None = None
        self._opened = 0
        self._used_ns = 0

    def add(self, step: ReplayedStep) -> None:
        """Takes a step that has ended."""
        self.flush()
        self._pending = step

    def flush(self) -> None:
        """Writes the step that waits, if one does."""
        step, self._pending = self._pending, None
        if step is None:
            return
        if self._reporter is not None:
            opened, used_ns = self._reporter.gates_opened, self._reporter.used_ns
            # A squeezer that was started again counts from zero.
            step.gates_opened = opened - self._opened if opened >= self._opened else opened
            step.trial_seconds = (used_ns - self._used_ns if used_ns >= self._used_ns else used_ns) / 1e9
            step.squeezed = step.trial_seconds > 0
            step.watched = self._reporter.is_watched()
            self._opened, self._used_ns = opened, used_ns
        self._output.write(json.dumps(asdict(step)) + "\n")
        self._output.flush()


class StepSink(Protocol):
    """Takes the steps of a replay."""

    def add(self, step: ReplayedStep) -> None:
        """Takes a step that has ended."""
        ...

    def flush(self) -> None:
        """Called after a step's first operation, when what is said of the step before has arrived; and at the end."""
        ...


class Replay:
    """One stage of a replayed run."""

    def __init__(
        self, meet: Callable[[int, int], Meeting], compute: StageCompute, events: StageEvents, sink: StepSink
    ) -> None:
        """Takes how the stage meets its peers in a step of this number that begins at this time."""
        self._meet = meet
        self._compute = compute
        self._events = events
        self._sink = sink

    def run(self, steps: Iterable[int], is_stopped: Callable[[], bool]) -> None:
        """Runs steps until there are no more, or it is stopped."""
        for step in steps:
            if is_stopped():
                break
            self._sink.add(self._run_step(step))
        self._sink.flush()

    def _run_step(self, step: int) -> ReplayedStep:
        self._events.step_begin(step)
        record = ReplayedStep(step, time.monotonic_ns())
        peers = self._meet(step, record.begin_ns)
        for index, operation in enumerate(peers.order):
            self._wait(index, peers, operation, record)
            self._run(index, operation)
            peers.finished(operation, time.monotonic_ns())
            if index == 0:
                self._sink.flush()
        # All stages meet in the collective before the optimizer's step.
        self._wait(len(peers.order), peers, None, record)
        self._compute.optimizer_step()
        record.seconds = (time.monotonic_ns() - record.begin_ns) / 1e9
        record.checksum = self._compute.checksum
        self._events.step_end(step)
        return record

    def _run(self, index: int, operation: Operation) -> None:
        activity = _ACTIVITIES[operation.kind]
        self._events.begin(activity, index)
        self._compute.run(operation)
        self._events.end(activity, index)

    def _wait(self, index: int, peers: Meeting, operation: Operation | None, record: ReplayedStep) -> None:
        begin_ns = time.monotonic_ns()
        self._events.begin(Activity.WAIT, index)
        peers.wait(operation)
        end_ns = time.monotonic_ns()
        self._events.end(Activity.WAIT, index)
        record.bubbles.append((index, begin_ns, end_ns))
        record.bubble_seconds += (end_ns - begin_ns) / 1e9


def peer_durations(
    recording: RecordedSchedule, forward_seconds: float, backward_seconds: float
) -> Callable[[int], DurationNs]:
    """Gives, for each step, how long peers take: the recording's variation on the real stage's own durations."""
    scales = {
        OperationKind.FORWARD: forward_seconds / recording.mean_forward_seconds(),
        OperationKind.BACKWARD: backward_seconds / recording.mean_backward_seconds(),
    }

    def of_step(step: int) -> DurationNs:
        def duration_ns(stage: int, operation: Operation) -> int:
            return int(recording.seconds(step, stage, operation) * scales[operation.kind] * 1e9)

        return duration_ns

    return of_step


def main(arguments: list[str] | None = None) -> int:
    """Runs the command."""
    options = _parse(arguments)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    torch.set_num_threads(1)
    # Before the core is set, so that its thread is not on it.
    reporter = _reporter(options)
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    compute = StageCompute(options.forward_seconds, options.layers)
    durations = peer_durations(RecordedSchedule.load(options.recording), *compute.measure())
    with _output(options.output) as output:

        def meet(step: int, begin_ns: int) -> Peers:
            return Peers(options.stages, options.stage, options.microbatches, begin_ns, durations(step))

        hook = StageHook([reporter] if reporter is not None else [])
        replay = Replay(meet, compute, hook, StepLog(output, reporter))
        steps = range(options.steps) if options.steps is not None else itertools.count()
        replay.run(steps, stopped.is_set)
    if reporter is not None:
        reporter.close()
    return 0


def _reporter(options: argparse.Namespace) -> StageReporter | None:
    if options.squeezer_address is None:
        return None
    cores = () if options.core is None else (options.core,)
    description = StageDescription(
        options.pipeline_run, options.stage, options.stages, options.microbatches, "1F1B", cores
    )
    return StageReporter(description, options.gate_directory, options.squeezer_address)


def _output(path: Path | None) -> TextIO:
    return sys.stdout if path is None else path.open("a", encoding="utf-8")


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--stages", type=int, default=4)
    parser.add_argument("--microbatches", type=int, default=4)
    parser.add_argument("--stage", type=int, default=1, help="the real one, from 0")
    parser.add_argument("--forward-seconds", type=float, default=0.02, help="of one microbatch on the real stage")
    parser.add_argument("--layers", type=int, help="size of the real stage, in place of --forward-seconds")
    parser.add_argument("--core", type=int, help="CPU core of the real stage")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int)
    length.add_argument("--until-stopped", action="store_true", help="until SIGTERM")
    parser.add_argument("--squeezer-address", help="host:port; without it the run is alone")
    parser.add_argument("--pipeline-run", default="replay", help="name of the run")
    parser.add_argument(
        "--gate-directory",
        type=Path,
        default=Path(os.environ.get("HYDRO_GATE_DIRECTORY", "/dev/shm/hydro")),
        help="shared with the squeezer; HYDRO_GATE_DIRECTORY",
    )
    parser.add_argument("--recording", type=Path, help="recorded schedule in place of the packaged one")
    parser.add_argument("--output", type=Path, help="file the steps are appended to; standard output by default")
    options = parser.parse_args(arguments)
    if not 0 <= options.stage < options.stages:
        parser.error(f"--stage {options.stage} is not among {options.stages} stages: count from 0")
    if options.microbatches < 1 or options.forward_seconds <= 0:
        parser.error("--microbatches and --forward-seconds must be positive")
    return options


if __name__ == "__main__":
    sys.exit(main())
