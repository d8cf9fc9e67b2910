"""The port of executors: start, stop and watch a worker's process on a device. What runs there is agreed by lease."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class WorkerPlace:
    """Where a worker runs: the device's resource name, the cores it is pinned to (none: not pinned) and its GPU."""

    device: str
    cpu_cores: tuple[int, ...] = ()
    gpu_index: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerExit:
    """A worker's process that has ended. `exit_code` is negative for a signal; `log_tail` its last lines."""

    worker: str
    device: str
    exit_code: int
    log_tail: str


class Executor(Protocol):
    """Starts, stops and polls workers.

    Laws, checked by the conformance suite for every executor:
        A worker sees only allowed environment variables, never the database's URL.
        Each worker's end is polled exactly once.
        No process of a worker outlives `stop`, `close` or the death of what started it.
    """

    async def start(self, place: WorkerPlace) -> str:
        """Starts a worker on the device and gives its name, unique over all starts.

        Raises:
            Unavailable: The process could not be started.
        """
        ...

    async def stop(self, worker: str) -> None:
        """Asks the worker to end, and ends it after a grace. One that has ended is fine; its end is still polled.

        Raises:
            NotFound: No such worker was started, or its end was polled.
        """
        ...

    async def poll(self) -> list[WorkerExit]:
        """Workers that have ended since the last poll."""
        ...

    def running(self) -> dict[str, str]:
        """Worker to device, of those whose end was not polled."""
        ...

    async def close(self) -> None:
        """Stops every worker, all at once."""
        ...
