"""Addresses for the suite's services."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Addresses:
    """host:port of each service."""

    coordinator: str
    tuner: str
    squeezer: str

    @classmethod
    def standard(cls) -> Self:
        """The ports that clients look at when they are told nothing."""
        return cls(f"{HOST}:7400", f"{HOST}:7401", f"{HOST}:7402")

    @classmethod
    def free(cls) -> Self:
        """Ports that nothing listens on now."""
        return cls(*(f"{HOST}:{port}" for port in free_ports(3)))


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]
