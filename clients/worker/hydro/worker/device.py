"""The device as this process uses it: cores, threads, scheduling class, accelerator, the gate."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, MutableMapping
from typing import Final, Protocol, TypeVar

import structlog
import torch

from hydro.squeezer.worker_gate import WorkerGate
from hydro.tuner.training.gate import Gate, OpenGate
from hydro.worker.priority import idle_priority
from hydro.worker.settings import WorkerSettings

_Result = TypeVar("_Result")
_NO_DAEMON: Final = "/nonexistent/hydro-without-mps"


def use_cores(settings: WorkerSettings) -> None:
    """Pins the process to its cores, and gives each op as many threads."""
    if settings.cores:
        os.sched_setaffinity(0, settings.cores)
    threads = settings.worker_threads or len(settings.cores)
    if threads:
        torch.set_num_threads(threads)


def use_threads(planned: int, given: int) -> None:
    """Gives each op as many threads as a bundle was planned for, or those that the device gives if they are fewer."""
    if planned > given:
        structlog.get_logger().warning("planned for more threads than there are", planned=planned, threads=given)
    torch.set_num_threads(min(planned, given) if planned else given)


def choose_mps(settings: WorkerSettings, environment: MutableMapping[str, str]) -> None:
    """Keeps this process out of MPS on a slot unless it was asked for: before CUDA starts, which looks for the daemon.

    A client that finds no daemon runs without one (nvidia-cuda-mps-control(1)).
    """
    if settings.is_on_slot and not settings.worker_mps:
        environment["CUDA_MPS_PIPE_DIRECTORY"] = _NO_DAEMON


def torch_device(settings: WorkerSettings) -> torch.device:
    """Gives the GPU when this process was started for one."""
    wanted = settings.worker_accelerator
    if wanted is None:
        wanted = bool(os.environ.get("CUDA_VISIBLE_DEVICES")) and torch.cuda.is_available()
    return torch.device("cuda", 0) if wanted else torch.device("cpu")


class Workplace(Protocol):
    """Where one lease's work is done, and how its time is counted."""

    gate: Gate

    def worked_seconds(self) -> float:
        """Gives the seconds worked since the last call."""
        ...

    def memory_room_bytes(self) -> int:
        """Gives what this process may take beside what it holds; below 0: what it has to give back; 0: neither."""
        ...

    def aside(self, work: Callable[[], _Result]) -> _Result:
        """Runs work that passes no gate (importing, tracing, building), so that it takes no time from others."""
        ...

    def leave(self) -> None:
        """Ends it."""
        ...


class ExclusiveDevice:
    """All of the time is ours."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.gate: Gate = OpenGate()
        self._monotonic = monotonic
        self._counted = monotonic()

    def worked_seconds(self) -> float:
        """Wall time, building included."""
        before, self._counted = self._counted, self._monotonic()
        return self._counted - before

    def memory_room_bytes(self) -> int:
        """Nobody else takes any."""
        return 0

    def aside(self, work: Callable[[], _Result]) -> _Result:
        """Runs it at once."""
        return work()

    def leave(self) -> None:
        """Nothing to do."""


class Slot:
    """Ours in bubbles alone. `is_interrupted` says whether to stop waiting for one.

    Raises:
        GateLost: The gate's page is gone, or its controller is.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        gate: str,
        device: torch.device,
        is_interrupted: Callable[[], bool] = lambda: False,
    ) -> None:
        if settings.gate_directory is None:
            raise ValueError("HYDRO_GATE_DIRECTORY is not set: a worker on a slot needs the folder of its gate page")
        synchronize = torch.cuda.synchronize if device.type == "cuda" else None
        self.worker_gate = WorkerGate.attach(
            settings.gate_directory / gate, synchronize=synchronize, is_interrupted=is_interrupted
        )
        self.gate: Gate = self.worker_gate
        self._counted = self.worker_gate.used_seconds

    def worked_seconds(self) -> float:
        """Time inside segments."""
        before, self._counted = self._counted, self.worker_gate.used_seconds
        return self._counted - before

    def memory_room_bytes(self) -> int:
        """As the squeezer last told."""
        return self.worker_gate.memory_room_bytes

    def aside(self, work: Callable[[], _Result]) -> _Result:
        """Runs it when nobody else wants the core."""
        return idle_priority(work)

    def leave(self) -> None:
        """Tells the controller that nobody works here any more."""
        self.worker_gate.detach()
