"""The search of a coordinator: several processes for what computes long, nothing at all for random draws."""

from __future__ import annotations

import asyncio
import zlib

from hydro.coordinator.search.random_backend import RandomBackend, needs_no_history
from hydro.coordinator.search.search_backend import SearchRequest
from hydro.coordinator.search.search_process import SearchProcess
from hydro.coordinator.trial import Value


class SearchPool:
    """A study is always searched by the same process, which holds its history; a slow one delays its neighbours alone.

    Processes start when they are first needed.
    """

    def __init__(self, processes: int, deadline_seconds: float = 60.0) -> None:
        self._random = RandomBackend()
        self._processes = [SearchProcess(deadline_seconds) for _ in range(processes)]

    async def ask(self, request: SearchRequest) -> list[dict[str, Value]]:
        """Gives `request.count` suggestions."""
        if needs_no_history(request.sampler, request.space):
            return await self._random.ask(request)
        return await self._processes[zlib.crc32(request.study.encode()) % len(self._processes)].ask(request)

    async def close(self) -> None:
        """Ends the processes."""
        await asyncio.gather(*(each.close() for each in self._processes))
