"""The processes of the benchmark, and one block of each arm.

The stage and the trials have one core, or one GPU. The squeezer, the peers' simulator and this process have the other
cores. Each arm has a trial of its own behind a gate of its own; those whose turn it is not sleep.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from benchmarks.squeezer import trial
from benchmarks.squeezer.reactive_gate import ReactiveGate
from benchmarks.squeezer.stage import PIPELINE_RUN, REACTIVE_RING
from hydro.api.squeezer.v1 import squeezer_service_pb2, squeezer_service_pb2_grpc
from hydro.kit.channel import open_sync_channel
from hydro.kit.errors import HydroError
from hydro.kit.parent import tethered_command
from hydro.squeezer.events import EventKind, EventWriter
from hydro.squeezer.gate import MAGIC, WORD_COUNT, ControllerGate
from hydro.squeezer.shared_page import SharedPage

_PATIENCE_SECONDS: Final = 60.0
_STEPS_BEFORE_OFFER: Final = 8
_DEVICE: Final = "devices/benchmark-0"


@dataclass(frozen=True, slots=True)
class Place:
    """What the stage and the trials share."""

    device: str = "cpu"
    core: int | None = None
    """None: each runs where it likes, and what they share is the GPU."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of their processes, over this one's."""

    @property
    def words(self) -> tuple[str, ...]:
        """How their command lines say it."""
        return (self.device,) if self.core is None else (self.device, str(self.core))


@dataclass(frozen=True, slots=True)
class Block:
    """What one block of steps gave; of the arm `exclusive`, a time without steps."""

    arm: str
    seconds: tuple[float, ...]
    """Of each step."""
    bubble_seconds: float = 0.0
    hook_seconds: float = 0.0
    used_seconds: float = 0.0
    """Of the bubbles, by segments."""
    late_seconds: float = 0.0
    """Of segments past the ends of their bubbles."""
    trial_steps: int = 0
    sm_activity: float | None = None
    """Share of the GPU's streaming multiprocessors that were busy, in the mean; None where nothing tells it."""

    @property
    def total_seconds(self) -> float:
        """Of all its steps."""
        return sum(self.seconds)

    @property
    def trial_steps_per_second(self) -> float:
        """Training steps of the bundle."""
        return self.trial_steps / self.total_seconds


class Trial:
    """A bundle's process, seen through its pages."""

    def __init__(self, process: subprocess.Popen[bytes], gate: ControllerGate, page: SharedPage) -> None:
        self.process = process
        self.gate = gate
        self._page = page

    @property
    def words(self) -> Any:
        """Its page, by the names of `benchmarks.squeezer.trial`."""
        return self._page.words

    @property
    def steps(self) -> int:
        """Training steps so far."""
        return int(self.words[trial.STEPS])

    def wait_until_it_is_there(self, name: str) -> None:
        """Returns when its gate knows it."""
        _wait_until(lambda: self.gate.worker_silence_ns() is not None, f"the trial of arm {name} attaches")


class Arms:
    """Starts everything, runs blocks, ends everything.

    Args:
        place: of the stage and the trials.
        forward_seconds: about how long a microbatch's forward takes on the stage; the backward takes about twice that.
    """

    def __init__(self, place: Place, forward_seconds: float) -> None:
        self._place = place
        self._forward_seconds = forward_seconds
        self._stack = ExitStack()
        self._trials: dict[str, Trial] = {}

    def __enter__(self) -> Arms:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self) -> None:
        memory = Path("/dev/shm")
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None))
        self._directory = Path(folder)
        self._address = f"localhost:{_free_port()}"
        self._start_squeezer()
        self._stage = self._start_stage()
        self.durations = self._answer()
        self._own_ring = EventWriter.create(self._directory / "open.events")
        self._start_reactive("open", "open.events")
        self._start_reactive("reactive", REACTIVE_RING)
        self._start_predictive()
        for name, each in self._trials.items():
            each.wait_until_it_is_there(name)

    def _start_squeezer(self) -> None:
        environment = os.environ | {
            "HYDRO_GATE_DIRECTORY": str(self._directory),
            "HYDRO_SQUEEZER_LISTEN_ADDRESS": self._address,
            "HYDRO_SQUEEZER_DEVICE": _DEVICE,
            "HYDRO_SQUEEZER_GPU": "simulated" if self._place.device == "cpu" else "nvml",
            "HYDRO_SQUEEZER_LOG_LEVEL": "WARNING",
        }
        self._spawn([sys.executable, "-m", "hydro.squeezer"], env=environment)
        channel = self._stack.enter_context(open_sync_channel(self._address))
        self._service = squeezer_service_pb2_grpc.SqueezerServiceStub(channel)

    def _start_stage(self) -> subprocess.Popen[bytes]:
        words = (str(self._directory), self._address, str(self._forward_seconds), *self._place.words)
        command = [sys.executable, "-m", "benchmarks.squeezer.stage", *words]
        environment = os.environ | self._place.environment
        return self._spawn(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _start_reactive(self, name: str, ring: str) -> None:
        gate = ReactiveGate(self._directory / ring)
        self._stack.callback(gate.stop)
        self._trials[name] = self._start_trial(name, gate.gate)

    def _start_predictive(self) -> None:
        _wait_until(lambda: self._slot_is_offered(), "the squeezer offers the stage's slot")
        request = squeezer_service_pb2.ClaimSlotRequest(name=self._slot, lease="leases/benchmark", fencing_token=1)
        page = self._directory / self._service.ClaimSlot(request).gate
        gate = ControllerGate(SharedPage.attach(page, magic=MAGIC, word_count=WORD_COUNT))
        self._trials["predictive"] = self._start_trial("predictive", gate)

    def _slot_is_offered(self) -> bool:
        self.run("predictive", _STEPS_BEFORE_OFFER)
        call = self._service.WatchSlots(squeezer_service_pb2.WatchSlotsRequest())
        try:
            return self._slot in {slot.name for slot in next(call).slots}
        except HydroError:
            return False
        finally:
            call.cancel()

    @property
    def _slot(self) -> str:
        return f"{_DEVICE}/slots/{PIPELINE_RUN}-1"

    def _start_trial(self, name: str, gate: ControllerGate) -> Trial:
        path = self._directory / f"{name}.trial"
        command = [sys.executable, "-m", "benchmarks.squeezer.trial", str(gate.path), str(path), *self._place.words]
        page = SharedPage.create(path, magic=trial.MAGIC, word_count=trial.WORD_COUNT)
        return Trial(self._spawn(command, env=os.environ | self._place.environment), gate, page)

    def _spawn(self, command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        process: subprocess.Popen[bytes] = subprocess.Popen(tethered_command(tuple(command)), **options)
        self._stack.callback(_end, process)
        return process

    def _answer(self) -> dict[str, Any]:
        line = self._stage.stdout.readline() if self._stage.stdout else b""
        if not line:
            raise RuntimeError("the stage's process has ended: its output is above")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, arm: str, steps: int) -> Block:
        """Runs so many steps of the stage in an arm: none, colocation, reactive or predictive."""
        if arm == "colocation":
            self._own_ring.write(EventKind.BEGIN, time.monotonic_ns())
        try:
            return self._run(arm, steps)
        finally:
            if arm == "colocation":
                self._own_ring.write(EventKind.END, time.monotonic_ns())

    def _run(self, arm: str, steps: int) -> Block:
        worker = self._trials.get("open" if arm == "colocation" else arm)
        before = _account(worker)
        if self._stage.stdin is not None:
            self._stage.stdin.write(json.dumps({"arm": arm, "steps": steps}).encode() + b"\n")
            self._stage.stdin.flush()
        told = self._answer()
        used_ns, late_ns, trial_steps = (new - old for new, old in zip(_account(worker), before, strict=True))
        return Block(
            arm,
            tuple(told["seconds"]),
            told["bubble_seconds"],
            told["hook_seconds"],
            used_ns / 1e9,
            late_ns / 1e9,
            trial_steps,
        )

    def run_exclusively(self, seconds: float) -> Block:
        """Gives the core to a trial alone."""
        worker = self._trials["open"]
        before, begin_ns = _account(worker), time.monotonic_ns()
        self._own_ring.write(EventKind.BEGIN, begin_ns)
        time.sleep(seconds)
        steps = _account(worker)[2] - before[2]
        end_ns = time.monotonic_ns()
        self._own_ring.write(EventKind.END, end_ns)
        return Block("exclusive", ((end_ns - begin_ns) / 1e9,), trial_steps=steps)

    def make_bubble(self, seconds: float) -> tuple[float, float] | None:
        """Makes a bubble whose end nobody foresees, for a trial alone on its core.

        Returns:
            Seconds from its begin to the trial's first operation, and from its end until the trial is quiet; None when
            no segment ran in it.
        """
        worker, words = self._trials["open"], self._trials["open"].words
        opening = words[trial.OPENING]
        begin_ns = time.monotonic_ns()
        self._own_ring.write(EventKind.BEGIN, begin_ns)
        time.sleep(seconds)
        end_ns = time.monotonic_ns()
        self._own_ring.write(EventKind.END, end_ns)
        _wait_until(lambda: worker.gate.is_quiet and not worker.gate.is_open, "the trial is quiet")
        # It stamps its end a moment after it has told the gate.
        time.sleep(0.002)
        if words[trial.OPENING] == opening:
            return None
        return (words[trial.FIRST_BEGIN] - begin_ns) / 1e9, max(0, words[trial.LATEST_END] - end_ns) / 1e9

    def wait_until_trials_train(self) -> None:
        """Returns when each trial has built its bundle and taken some steps."""
        for arm, name in (("colocation", "open"), ("reactive", "reactive"), ("predictive", "predictive")):

            def has_trained(arm: str = arm, name: str = name) -> bool:
                if self._trials[name].process.poll() is not None:
                    raise RuntimeError(f"the trial of arm {arm} has ended: its output is above")
                self.run(arm, 2)
                return self._trials[name].steps >= 5

            _wait_until(has_trained, f"the trial of arm {arm} trains")


def _account(worker: Trial | None) -> tuple[int, int, int]:
    """Nanoseconds used, nanoseconds late, training steps."""
    return (0, 0, 0) if worker is None else (worker.gate.used_ns, worker.gate.late_ns, worker.steps)


def _wait_until(is_so: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _PATIENCE_SECONDS
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {_PATIENCE_SECONDS:.0f} s")
        time.sleep(0.0005)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    elif process.poll() is None:
        process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
