"""A search backend in a process of its own: what is heavy or slow there stays out of the coordinator."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from typing import Any

import structlog

from hydro.coordinator.search.ledger import Ledger, Update
from hydro.coordinator.search.search_backend import SearchRequest
from hydro.coordinator.search.wire import pack, receive_frame
from hydro.coordinator.trial import Value
from hydro.kit.errors import DeadlineExceeded, Internal, Unavailable

log = structlog.get_logger()

_COMMAND = (sys.executable, "-m", "hydro.coordinator.search")
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_ATTEMPTS = 2


class SearchProcess:
    """Sends each request to a child process, which is started at the first one and again whenever it has died.

    Requests take turns. One that takes longer than the deadline ends the child, which cannot be interrupted otherwise.

    Args:
        deadline_seconds: The longest that one request may take; the child's start counts.
        command: What to start: it reads frames with requests and writes a frame with an answer for each.
    """

    def __init__(self, deadline_seconds: float = 60.0, command: Sequence[str] = _COMMAND) -> None:
        self._deadline_seconds = deadline_seconds
        self._command = tuple(command)
        self._turn = asyncio.Lock()
        self._process: Process | None = None
        self._ledger = Ledger()

    async def ask(self, request: SearchRequest) -> list[dict[str, Value]]:
        """Gives `request.count` suggestions. A child that dies is replaced and asked again: the answer is the same."""
        async with self._turn:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    return await self._suggestions(request)
                except (asyncio.IncompleteReadError, ConnectionError) as error:
                    log.warning("search process died", attempt=attempt, error=repr(error))
        raise Unavailable(f"the search process died {_ATTEMPTS} times on one request: see its output in the log")

    async def close(self) -> None:
        """Ends the child. The next request would start another."""
        async with self._turn:
            await self._end()

    @property
    def process_id(self) -> int | None:
        """The child's, None while there is none."""
        return self._process.pid if self._process is not None else None

    async def _suggestions(self, request: SearchRequest) -> list[dict[str, Value]]:
        """Tells the child what is new of the study; everything, if it does not hold what came before."""
        update = self._ledger.update(request)
        suggestions, failure = await self._exchange(update)
        if suggestions is None and failure is None:
            update = Update(request, 0)
            suggestions, failure = await self._exchange(update)
        if failure is not None:
            self._ledger.forget(request.study)
            raise Internal(f"the search failed: {failure}")
        self._ledger.note(request, update)
        found: list[dict[str, Value]] = suggestions
        return found

    async def _exchange(self, update: Update) -> Any:
        """One request and its answer. What interrupts it ends the child, or its late answer would be the next one's."""
        try:
            async with asyncio.timeout(self._deadline_seconds):
                process = await self._started()
                assert process.stdin is not None and process.stdout is not None  # both are pipes
                process.stdin.write(pack(update))
                await process.stdin.drain()
                return await receive_frame(process.stdout)
        except TimeoutError:
            await self._end()
            raise DeadlineExceeded(
                f"the search took longer than {self._deadline_seconds} s for {update.request.count} suggestions: "
                f"ask for fewer, or choose a cheaper sampler than {update.request.sampler.value}"
            ) from None
        except BaseException:
            await self._end()
            raise

    async def _started(self) -> Process:
        if self._process is None:
            environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
            # Iteration over sets of names must not differ between two children, or a replay would.
            environment |= {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment,
                start_new_session=True,  # a terminal's Ctrl-C is for the coordinator, which ends it
            )
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        self._ledger.forget()
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await asyncio.shield(process.wait())
