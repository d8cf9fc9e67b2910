"""Allocation has one owner: devices, bundles, leases and the studies with a task are decided about in one process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from hydro.coordinator.ownership.membership import Membership
from hydro.coordinator.ownership.owner import NotOwner
from hydro.coordinator.storage.storage import Answer, Storage, Transaction
from hydro.kit.clock import Clock
from hydro.kit.errors import HydroError

_log = structlog.get_logger()
LOOK_SECONDS = 0.5


class AllocationStorage:
    """The storage of those who allocate: each transaction first compares the epoch, and keeps it until it ends.

    A storage as its port says; `run` raises NotOwner also when another coordinator has taken allocation over.
    """

    def __init__(self, storage: Storage, membership: Membership, clock: Clock) -> None:
        self._storage = storage
        self._membership = membership
        self._clock = clock
        self._epoch: int | None = None
        self._lost = asyncio.Event()

    async def run(self, work: Callable[[Transaction], Awaitable[Answer]]) -> Answer:
        """Runs `work` in one transaction, which nothing is left of when allocation has another owner."""
        epoch = self._epoch
        if epoch is None:
            raise NotOwner("another coordinator allocates")

        async def held(tx: Transaction) -> Answer:
            await tx.coordinators.hold_allocation(epoch)
            return await work(tx)

        try:
            return await self._storage.run(held)
        except NotOwner:
            self._lose(epoch)
            raise

    async def close(self) -> None:
        """Does nothing: the storage below is closed by who opened it."""

    async def acquired(self) -> None:
        """Returns once this coordinator owns allocation."""
        while True:
            try:
                epoch = await self._storage.run(lambda tx: tx.coordinators.take_allocation(self._membership.id))
            except HydroError as error:
                _log.warning("allocation cannot be taken", error=error.message)
                epoch = None
            if epoch is not None:
                _log.info("allocates", epoch=epoch)
                self._epoch, self._lost = epoch, asyncio.Event()
                return
            await self._clock.sleep(LOOK_SECONDS)

    async def lost(self) -> None:
        """Returns once it does not own it any more."""
        lost = self._lost
        while not lost.is_set():
            await self._clock.sleep(LOOK_SECONDS)
            if self._epoch is not None and not self._membership.is_valid:
                await self._look()

    async def _look(self) -> None:
        try:
            await self.run(_nothing)
        except HydroError as error:
            _log.warning("allocation is not certain", error=error.message)

    def _lose(self, epoch: int) -> None:
        if self._epoch == epoch:
            _log.warning("another coordinator allocates", epoch=epoch)
            self._epoch = None
            self._lost.set()


async def _nothing(tx: Transaction) -> None:
    """Compares the epoch alone."""
