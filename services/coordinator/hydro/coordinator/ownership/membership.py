"""A coordinator's row among those that live: while it is renewed, what the coordinator owns stays its own."""

from __future__ import annotations

import asyncio

import structlog

from hydro.coordinator.storage.storage import Storage
from hydro.kit.clock import Clock
from hydro.kit.errors import HydroError

_log = structlog.get_logger()
_RENEWALS = 3
"""In the time of a row, so often is it renewed."""


class Membership:
    """Renews the row of one coordinator.

    Args:
        storage: where the row is.
        clock: measures how long this process may have stood still.
        id: the coordinator's, of this process alone.
        address: where the others reach it.
        seconds: so long after its last renewal the others may take over what it owns.
    """

    def __init__(self, storage: Storage, clock: Clock, id: str, address: str, seconds: float) -> None:  # noqa: A002
        self._storage = storage
        self._clock = clock
        self.id = id
        self.address = address
        self._seconds = seconds
        self._valid_until = float("-inf")
        self._term = 0

    @property
    def term(self) -> int | None:
        """The number of the time without a gap that lasts now; None: nobody knows who owns what.

        What was owned in the same term is owned still; after a gap it has to be asked.
        """
        return self._term if self.is_valid else None

    @property
    def is_valid(self) -> bool:
        """Whether nobody can have taken anything over since the last renewal."""
        return self._clock.monotonic() < self._valid_until

    async def join(self) -> None:
        """Makes the row. A process that was reached at the same address is not there any more: its row goes."""
        await self._storage.run(lambda tx: tx.coordinators.replace(self.id, self.address))
        await self.renew()

    async def renew(self) -> None:
        """Renews the row once."""
        # Counted from before: the database's clock starts later.
        start = self._clock.monotonic()
        await self._storage.run(lambda tx: tx.coordinators.renew(self.id, self.address, self._seconds))
        if not self.is_valid:
            self._term += 1
        self._valid_until = start + self._seconds

    async def keep(self) -> None:
        """Renews the row for ever."""
        while True:
            await self._clock.sleep(self._seconds / _RENEWALS)
            try:
                # On a connection that is dead without a word the database's own patience would be far too long.
                async with asyncio.timeout(self._seconds):
                    await self.renew()
            except (HydroError, TimeoutError) as error:
                _log.warning("ownership cannot be renewed", error=repr(error))

    async def leave(self) -> None:
        """Gives up what the coordinator owns, so that others need not wait."""
        self._valid_until = float("-inf")
        try:
            async with asyncio.timeout(self._seconds):
                await self._storage.run(lambda tx: tx.coordinators.leave(self.id))
        except (HydroError, TimeoutError) as error:
            _log.warning("ownership ends by itself", seconds=self._seconds, error=repr(error))
