"""Wakes those in this process who wait for a change."""

from __future__ import annotations

import asyncio
import contextlib


class Bell:
    """Rings for everyone who listens, and whenever it does, the bell `also`.

    Who waits takes a ticket before looking at the state, so that no ring between the look and the wait is missed.
    """

    def __init__(self, also: Bell | None = None) -> None:
        self._next = asyncio.Event()
        self._also = also

    def ticket(self) -> asyncio.Event:
        """Is for the next ring from now on."""
        return self._next

    def ring(self) -> None:
        """Wakes everyone."""
        self._next.set()
        self._next = asyncio.Event()
        if self._also is not None:
            self._also.ring()

    async def wait(self, ticket: asyncio.Event, timeout_seconds: float) -> None:
        """Returns at the ticket's ring, or when the time is over."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ticket.wait(), timeout_seconds)
