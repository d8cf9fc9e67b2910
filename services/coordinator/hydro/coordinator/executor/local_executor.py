"""Workers as processes on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog

from hydro.coordinator.executor.executor import WorkerExit, WorkerPlace
from hydro.kit.errors import NotFound, Unavailable
from hydro.kit.parent import tethered_command

log = structlog.get_logger()

WORKER_COMMAND = (sys.executable, "-m", "hydro.worker")
PASSED_ON = (
    "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH",
    "CUDA_HOME", "NVIDIA_VISIBLE_DEVICES", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR", "HF_HOME", "XDG_CACHE_HOME",
    "HYDRO_GATE_DIRECTORY", "HYDRO_WORKER_IDLE_SECONDS", "HYDRO_WORKER_THREADS", "HYDRO_LOG_LEVEL",
    "HYDRO_WORKER_MPS", "CUDA_MPS_PIPE_DIRECTORY", "DOCKER_HOST", "DOCKER_CONFIG",
)  # fmt: skip
"""Variables of the coordinator's environment that workers get; no other one reaches them."""

LOG_TAIL_BYTES = 4096
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class _Worker:
    place: WorkerPlace
    process: subprocess.Popen[bytes]
    log_path: Path


class LocalExecutor:
    """Starts workers as child processes, each in a session of its own, pinned to its device's cores.

    It is used from one event loop, on a thread that stays: a worker dies with the thread that started it.

    Args:
        log_directory: Gets one file per worker, `<worker>.log`.
        environment: Further variables for every worker, the coordinator's address for one.
        command: What a worker is.
        grace_seconds: How long a worker may take to end when it is asked to.
    """

    def __init__(
        self,
        log_directory: Path,
        environment: Mapping[str, str],
        *,
        command: Sequence[str] = WORKER_COMMAND,
        grace_seconds: float = 10.0,
    ) -> None:
        self._log_directory = log_directory
        self._environment = dict(environment)
        self._command = tuple(command)
        self._grace_seconds = grace_seconds
        self._workers: dict[str, _Worker] = {}

    async def start(self, place: WorkerPlace) -> str:
        """Starts a worker on the device and gives its name."""
        name = f"{place.device.replace('/', '-')}-{uuid4().hex[:8]}"
        path = self._log_directory / f"{name}.log"
        try:
            self._log_directory.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as output:
                process = subprocess.Popen(
                    tethered_command(self._command, cores=place.cpu_cores),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=worker_environment(place, self._environment, os.environ),
                    start_new_session=True,
                )
        except OSError as error:
            raise Unavailable(f"a worker on {place.device} could not be started: {error}") from error
        self._workers[name] = _Worker(place, process, path)
        log.info("worker started", worker=name, device=place.device, process_id=process.pid, log=str(path))
        return name

    async def stop(self, worker: str) -> None:
        """SIGTERM, then after the grace SIGKILL, to the worker and what it has started."""
        if worker not in self._workers:
            raise NotFound(f"{worker} is not a worker of this executor, or its end was polled: poll for what runs")
        process = self._workers[worker].process
        if not _has_ended(process):
            os.kill(process.pid, signal.SIGTERM)  # Popen.terminate would reap first, and lose its session
        try:
            async with asyncio.timeout(self._grace_seconds):
                await _ended(process)
        except TimeoutError:
            log.warning("worker did not end", worker=worker, grace_seconds=self._grace_seconds)
        _reap(process)

    async def poll(self) -> list[WorkerExit]:
        """Workers that have ended since the last poll; what they had started and left is killed."""
        ended = [name for name, worker in self._workers.items() if _has_ended(worker.process)]
        return [self._bury(name) for name in ended]

    def running(self) -> dict[str, str]:
        """Worker to device, of those whose end was not polled."""
        return {name: worker.place.device for name, worker in self._workers.items()}

    async def close(self) -> None:
        """Stops every worker, all at once."""
        async with asyncio.TaskGroup() as group:
            for name in self._workers:
                group.create_task(self.stop(name))

    def _bury(self, name: str) -> WorkerExit:
        worker = self._workers.pop(name)
        exit_code = _reap(worker.process)
        log.info("worker ended", worker=name, device=worker.place.device, exit_code=exit_code)
        return WorkerExit(name, worker.place.device, exit_code, _tail(worker.log_path))


def worker_environment(place: WorkerPlace, chosen: Mapping[str, str], inherited: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a worker: what is passed on, what the executor was given, and what the place says."""
    threads = str(max(1, len(place.cpu_cores)))
    environment = {name: inherited[name] for name in PASSED_ON if name in inherited}
    environment |= {"PYTHONUNBUFFERED": "1", "HYDRO_WORKER_DEVICE": place.device, **chosen}
    if place.cpu_cores:
        environment["HYDRO_WORKER_CORES"] = ",".join(map(str, place.cpu_cores))
        environment |= {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    # An empty list hides every GPU from a worker that was given none.
    environment["CUDA_VISIBLE_DEVICES"] = "" if place.gpu_index is None else str(place.gpu_index)
    return environment


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process has ended, without reaping it: until it is, no other process can get its number."""
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


async def _ended(process: subprocess.Popen[bytes]) -> None:
    while not _has_ended(process):
        await asyncio.sleep(_LOOK_SECONDS)


def _reap(process: subprocess.Popen[bytes]) -> int:
    """Kills what is left of the worker's session, and gives the worker's exit code."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def _tail(path: Path) -> str:
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
        return file.read().decode(errors="replace")
    return ""
