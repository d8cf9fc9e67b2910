"""Addresses for the suite's services."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Addresses:
    """host:port of each service."""

    coordinator: str
    tuner: str
    squeezers: tuple[str, ...]
    """One for each GPU."""

    @classmethod
    def standard(cls, squeezers: int = 1) -> Self:
        """The ports that clients look at when they are told nothing."""
        return cls._of(range(7400, 7402 + squeezers))

    @classmethod
    def free(cls, squeezers: int = 1) -> Self:
        """Ports that nothing listens on now."""
        return cls._of(free_ports(2 + squeezers))

    @property
    def squeezer(self) -> str:
        """The first GPU's."""
        return self.squeezers[0]

    @classmethod
    def _of(cls, ports: Sequence[int]) -> Self:
        coordinator, tuner, *squeezers = (f"{HOST}:{port}" for port in ports)
        return cls(coordinator, tuner, tuple(squeezers))


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]
