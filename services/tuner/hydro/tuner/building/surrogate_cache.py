"""The surrogates of this process: built once per name, watched by any number, gone with the process."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from hydro.kit.errors import AlreadyExists, NotFound
from hydro.tuner.building.builder import SurrogateBuilder
from hydro.tuner.building.request import BuildRequest, BuildResult
from hydro.tuner.building.surrogate import Surrogate

_log = structlog.get_logger()


@dataclass(slots=True)
class _Entry:
    surrogate: Surrogate
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    build: asyncio.Task[None] | None = None


class SurrogateCache:
    """Surrogates by name.

    Nothing is stored: the coordinator keeps the record of a surrogate and its artifact lies in the artifact store, so
    after a restart the same request builds it again.
    """

    def __init__(self, builder: SurrogateBuilder) -> None:
        self._builder = builder
        self._entries: dict[str, _Entry] = {}

    def create(self, name: str, request: BuildRequest) -> Surrogate:
        """Starts to build a surrogate, or gives the one of that name.

        Raises:
            AlreadyExists: the one of that name was made from something else.
        """
        entry = self._entries.get(name)
        if entry is None:
            entry = self._entries[name] = _Entry(Surrogate(name, request, datetime.now(UTC)))
            entry.build = asyncio.create_task(self._build(entry))
        if entry.surrogate.request != request:
            raise AlreadyExists(f"{name} exists and was made from another task, width or search space: use another id")
        return entry.surrogate

    def get(self, name: str) -> Surrogate:
        """Gives a surrogate.

        Raises:
            NotFound: there is none of that name.
        """
        return self._entry(name).surrogate

    async def watch(self, name: str) -> AsyncIterator[Surrogate]:
        """Gives a surrogate as it is, then after every change, to its end.

        Raises:
            NotFound: there is none of that name, or it was deleted meanwhile.
        """
        entry = self._entry(name)
        while not entry.surrogate.has_ended:
            changed = entry.changed
            yield entry.surrogate
            await changed.wait()
            entry = self._entry(name)
        yield entry.surrogate

    async def delete(self, name: str) -> None:
        """Forgets a surrogate, and ends its build.

        Raises:
            NotFound: there is none of that name.
        """
        entry = self._entry(name)
        del self._entries[name]
        await _end_build(entry)
        entry.changed.set()

    async def close(self) -> None:
        """Ends every build."""
        await asyncio.gather(*(_end_build(entry) for entry in self._entries.values()))

    def _entry(self, name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            raise NotFound(f"there is no surrogate {name!r}: the tuner forgets them when it restarts; create it again")
        return entry

    async def _build(self, entry: _Entry) -> None:
        try:
            result = await self._builder.build(entry.surrogate.request)
        except Exception as error:  # noqa: BLE001 the edge of a build: its watchers would wait for ever
            _log.exception("build ended with a fault", surrogate=entry.surrogate.name)
            result = BuildResult(failure=f"the tuner could not build it: {error!r}; see the tuner's log")
        entry.surrogate = entry.surrogate.built(result)
        entry.changed.set()


async def _end_build(entry: _Entry) -> None:
    if entry.build is None:
        return
    entry.build.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await entry.build
