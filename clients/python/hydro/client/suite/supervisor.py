"""Keeps child processes running: starts them all at once, restarts what dies, stops them in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

from hydro.client.suite.child import ChildSpec, log_tail, start_child
from hydro.kit.clock import Clock
from hydro.kit.errors import Unavailable

READY_SECONDS = 60.0
STOP_SECONDS = 10.0
SETTLED_SECONDS = 10.0
FIRST_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 10.0
FIRST_ATTEMPTS = 3
_POLL_SECONDS = 0.05


class Happening(Enum):
    """What a supervisor tells of a child."""

    READY = "ready"
    DIED = "died"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Report:
    """Something happened to a child."""

    child: str
    happening: Happening
    detail: str = ""


Listener = Callable[[Report], None]


def backoff_seconds(deaths: int) -> float:
    """How long to wait before the start after so many deaths in a row: 0.1 s, doubled each time, at most 10 s."""
    return min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** max(0, deaths - 1))


class Keeper:
    """Keeps one child running."""

    def __init__(self, spec: ChildSpec, clock: Clock, listener: Listener) -> None:
        self.spec = spec
        self._clock = clock
        self._listener = listener
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def process_id(self) -> int | None:
        """Of the child that runs now; None while there is none."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process is not None and running else None

    async def start(self) -> None:
        """Starts the child, waits until it is ready, and keeps it running from then on.

        Raises:
            Unavailable: it died, or did not get ready, several times; the message has the end of its log.
            HydroError: what it needs could not be prepared.
        """
        if self.spec.prepare is not None:
            await asyncio.to_thread(self.spec.prepare)
        for attempt in range(1, FIRST_ATTEMPTS + 1):
            if await self._start_once():
                self._task = asyncio.create_task(self._keep(), name=f"keep {self.spec.name}")
                return
            await self._end()
            await self._clock.sleep(backoff_seconds(attempt))
        raise Unavailable(
            f"{self.spec.name} does not start; its log, {self.spec.log_path}, ends so:\n{log_tail(self.spec.log_path)}"
        )

    async def stop(self) -> None:
        """Stops the child and all it left in its process group."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._end()
        self._tell(Happening.STOPPED)

    async def _start_once(self) -> bool:
        self._process = await start_child(self.spec)
        ready = await self._until_ready(self._process)
        if ready:
            self._tell(Happening.READY)
        return ready

    async def _until_ready(self, process: asyncio.subprocess.Process) -> bool:
        give_up_at = self._clock.monotonic() + READY_SECONDS
        while process.returncode is None and self._clock.monotonic() < give_up_at:
            if await self.spec.is_ready():
                return True
            await self._clock.sleep(_POLL_SECONDS)
        return False

    async def _keep(self) -> None:
        deaths = 0
        ready_at = self._clock.monotonic()
        while True:
            deaths = await self._until_death(deaths, ready_at)
            await self._clock.sleep(backoff_seconds(deaths))
            self._tell(Happening.RESTARTING)
            if await self._start_once():
                ready_at = self._clock.monotonic()
            else:
                # It did not get ready in time, or died: the next round counts it.
                await self._end()

    async def _until_death(self, deaths: int, ready_at: float) -> int:
        assert self._process is not None  # start() has set it before this task exists
        status = await self._process.wait()
        self._tell(Happening.DIED, _death(status))
        self._sweep()
        settled = self._clock.monotonic() - ready_at >= SETTLED_SECONDS
        return 1 if settled else deaths + 1

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(self.spec.stop_signal)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
        self._sweep()
        await process.wait()

    def _sweep(self) -> None:
        # The child leads a process group of its own; what is left of the group is its orphans.
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _tell(self, happening: Happening, detail: str = "") -> None:
        self._listener(Report(self.spec.name, happening, detail))


class Supervisor:
    """Keeps several children running; each waits by itself for those that it needs, and ends before them."""

    def __init__(self, specs: Sequence[ChildSpec], clock: Clock, listener: Listener) -> None:
        self.keepers = [Keeper(each, clock, listener) for each in specs]

    async def start(self) -> None:
        """Starts all at once, and returns when each is ready: most of a start is imports, on whatever core is free.

        Raises:
            Unavailable: one does not start. The others are stopped again.
            HydroError: what one needs could not be prepared.
        """
        starting = [asyncio.create_task(keeper.start()) for keeper in self.keepers]
        try:
            await asyncio.gather(*starting)
        except BaseException:
            for each in starting:
                each.cancel()
            await asyncio.wait(starting)
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stops all, the last one first."""
        for keeper in reversed(self.keepers):
            await keeper.stop()


def _death(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
