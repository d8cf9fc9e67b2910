"""Builds each surrogate in a child process of its own, watched and bounded."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from hydro.tuner.building.limits import BuildLimits
from hydro.tuner.building.process_tree import kill_group, resident_bytes
from hydro.tuner.building.request import BuildRequest, BuildResult

_log = structlog.get_logger()

BUILD_COMMAND = (sys.executable, "-m", "hydro.tuner.build")

LAST_LINES = 20
"""Lines of the child's output that a failure quotes."""

SPARE_DELAY_SECONDS = 120.0
"""So long after a build began the next child starts ahead of its request."""

_LOOK_SECONDS = 0.1

# The user's code runs in the child: it gets what Python, torch and storage need, and no setting of the service.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
_ENVIRONMENT_PREFIXES = ("LC_", "XDG_", "CUDA_", "NVIDIA_", "TORCH", "HF_", "AWS_", "GOOGLE_")


@dataclass(frozen=True, slots=True)
class _Child:
    process: asyncio.subprocess.Process
    threads: int


class ProcessBuilder:
    """Runs a command once per surrogate, a bounded number at a time.

    The command gets this process's id as an argument and is to die with it. The request goes in by standard input and
    the result comes out by standard output, as a line; of several the last one holds, also where the process was ended
    or ended itself while it tried to better it. Nothing is left on disk.
    """

    def __init__(
        self, limits: BuildLimits, *, concurrent_builds: int = 1, command: Sequence[str] = BUILD_COMMAND
    ) -> None:
        self._limits = limits
        self._command = command
        # Builds side by side would measure each other in their profiles.
        self._places = asyncio.Semaphore(concurrent_builds)
        self._spare: _Child | None = None
        self._next_spare: asyncio.Task[None] | None = None
        self._spare_threads = build_threads(limits.threads, 0)

    def keep_spare(self, after_seconds: float = 0.0) -> None:
        """Starts a child that waits for the next request: importing torch takes seconds, and it has done that by then.

        A build that takes it is followed by another one some time later: what was built is about to be trained, maybe
        on this machine.
        """
        self._next_spare = asyncio.create_task(self._prepare_spare(after_seconds))

    async def close(self) -> None:
        """Ends the child that waits."""
        if self._next_spare is not None:
            self._next_spare.cancel()
            await asyncio.wait([self._next_spare])
        if self._spare is not None:
            await _end(self._spare.process)
            self._spare = None

    async def build(self, request: BuildRequest) -> BuildResult:
        """Builds one surrogate; waits for a place first."""
        request = request if self._limits.compiles else replace(request, max_steps=0)
        async with self._places:
            child = await self._child_for(request)
            return await self._build_in_child(child.process, request)

    async def _child_for(self, request: BuildRequest) -> _Child:
        """The one that waits, if it is alive and has the threads that are wanted; else a new one."""
        threads = self._spare_threads = build_threads(self._limits.threads, request.threads)
        spare, self._spare = self._spare, None
        if spare is None:
            return await self._start(threads)
        self.keep_spare(SPARE_DELAY_SECONDS)
        if spare.threads == threads and spare.process.returncode is None:
            return spare
        await _end(spare.process)
        return await self._start(threads)

    async def _prepare_spare(self, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        async with self._places:
            self._spare = await self._start(self._spare_threads)

    async def _start(self, threads: int) -> _Child:
        process = await asyncio.create_subprocess_exec(
            *(*self._command, str(os.getpid())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=child_environment(os.environ, threads),
            start_new_session=True,
        )
        return _Child(process, threads)

    async def _build_in_child(self, child: asyncio.subprocess.Process, request: BuildRequest) -> BuildResult:
        last_lines: deque[str] = deque(maxlen=LAST_LINES)
        _log.info("build started", entry_point=request.entry_point, width=request.width, process=child.pid)
        try:
            async with asyncio.TaskGroup() as tasks:
                output = tasks.create_task(_read(child.stdout))
                tasks.create_task(_keep_lines(child.stderr, last_lines))
                tasks.create_task(_write(child.stdin, request.to_json()))
                excess = await self._watch(child, self._limits.seconds_for(request))
        finally:
            await _end(child)
        return self._result(child.returncode, output.result(), excess, list(last_lines))

    async def _watch(self, child: asyncio.subprocess.Process, seconds: float) -> str:
        """Waits for the child's end, brings it about beyond a limit, and tells which limit that was."""
        try:
            async with asyncio.timeout(seconds):
                return await self._watch_memory(child)
        except TimeoutError:
            return (
                f"the build did not end within {seconds:g} seconds: make the task's model or its data loading faster, "
                f"or raise HYDRO_TUNER_BUILD_TIMEOUT_SECONDS (HYDRO_TUNER_LADDER_TIMEOUT_SECONDS for a ladder)"
            )
        finally:
            # What the child started holds its pipes open.
            kill_group(child.pid)

    async def _watch_memory(self, child: asyncio.subprocess.Process) -> str:
        # Not by `wait`, which also waits for the pipes: processes that the child started may hold them open.
        while child.returncode is None:
            used, allowed = resident_bytes(child.pid), self._limits.memory_bytes
            if used > allowed:
                return (
                    f"the build used {used / 2**20:.0f} MiB of memory and may use {allowed / 2**20:.0f}: "
                    f"make the model smaller, or raise HYDRO_TUNER_BUILD_MEMORY_BYTES"
                )
            await asyncio.sleep(_LOOK_SECONDS)
        return ""

    def _result(self, status: int | None, output: bytes, excess: str, last_lines: list[str]) -> BuildResult:
        reason = excess or f"the build's process ended with status {status}"
        lines = output.decode().split("\n")[:-1]
        if lines:
            if excess or status:
                _log.warning("build ended early: what it had by then holds", reason=reason)
            return BuildResult.from_json(lines[-1])
        _log.warning("build failed", reason=reason)
        return BuildResult(failure="\n".join([reason, *last_lines]))


def build_threads(chosen: int | None, given: int) -> int:
    """Gives the threads of a build: those chosen, else those that the devices give, as far as there are cores."""
    return chosen or max(1, min(given, len(os.sched_getaffinity(0))))


def child_environment(environment: Mapping[str, str], threads: int) -> dict[str, str]:
    """Gives the part of an environment that the user's code may see."""
    allowed = {
        name: value
        for name, value in environment.items()
        if name in _ENVIRONMENT or name.startswith(_ENVIRONMENT_PREFIXES)
    }
    return allowed | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1"}


async def _read(stream: asyncio.StreamReader | None) -> bytes:
    return await stream.read() if stream else b""


async def _keep_lines(stream: asyncio.StreamReader | None, lines: deque[str]) -> None:
    # In pieces, not by `readline`, which refuses lines of a progress bar's length.
    rest = ""
    while stream and (piece := await stream.read(2**16)):
        *whole, rest = (rest + piece.decode(errors="replace"))[-(2**16) :].split("\n")
        lines.extend(line for line in whole if line.strip())
    if rest.strip():
        lines.append(rest)


async def _write(stream: asyncio.StreamWriter | None, text: str) -> None:
    if not stream:
        return
    try:
        stream.write(text.encode())
        await stream.drain()
        stream.close()
        await stream.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        # The child ended before it had read its request; its status tells why.
        return


async def _end(child: asyncio.subprocess.Process) -> None:
    kill_group(child.pid)
    await child.wait()
