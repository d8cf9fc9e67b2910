"""A TCP proxy that misbehaves on demand: what networks do between a client and a service."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

UP, DOWN = "up", "down"
"""From the client to the service, and back."""


class TcpProxy:
    """Carries bytes between clients and `target`, host:port or a Unix socket, until it is told to do worse."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._pairs: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._forsaken: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = {UP: asyncio.Event(), DOWN: asyncio.Event()}
        self.latency_seconds = 0.0
        self.refuses = False
        self.refused = 0
        self.heal()

    async def start(self) -> str:
        """Listens, and gives the address."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def blackhole(self, direction: str) -> None:
        """What goes that way does not arrive, until `heal`: nobody is told."""
        self._open[direction].clear()

    def heal(self) -> None:
        """Carries everything again, what was held back first."""
        self.latency_seconds, self.refuses = 0.0, False
        for each in self._open.values():
            each.set()

    def reset(self) -> None:
        """Resets every connection, on both sides."""
        for client, service in self._pairs:
            _abort(client)
            _abort(service)
        self._pairs = []

    def half_open(self) -> None:
        """The service's side of every connection is gone; clients are not told."""
        for client, service in self._pairs:
            self._forsaken.add(client)
            _abort(service)

    async def close(self) -> None:
        """Ends everything."""
        self.reset()
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            self.refused += 1
            _abort(writer)
            return
        try:
            there_reader, there_writer = await self._connected()
        except OSError:
            _abort(writer)
            return
        self._pairs.append((writer, there_writer))
        self._carry(reader, there_writer, UP)
        self._carry(there_reader, writer, DOWN)

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._target.startswith("/"):
            return await asyncio.open_unix_connection(self._target)
        host, _, port = self._target.rpartition(":")
        return await asyncio.open_connection(host, int(port))

    def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        task = asyncio.create_task(self._pump(reader, writer, direction))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: str) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self.latency_seconds:
                    await asyncio.sleep(self.latency_seconds)
                await self._open[direction].wait()
                writer.write(data)
                await writer.drain()
        # The end of what one side says reaches the other, unless that side is not to know.
        if writer not in self._forsaken:
            writer.close()


def _abort(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            # No lingering: a reset goes out at once.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
