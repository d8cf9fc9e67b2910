"""The other stages of the replayed run, in a process and on a core of their own: the real stage waits for its messages.

Usage: python -m benchmarks.squeezer.peers DESCRIPTOR FORWARD_SECONDS BACKWARD_SECONDS
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import Final

from hydro.squeezer.hooks.peers import Peers
from hydro.squeezer.hooks.recorded_schedule import RecordedSchedule
from hydro.squeezer.hooks.replay import peer_durations
from hydro.squeezer.pipeline import Operation, one_forward_one_backward

STAGES: Final = 4
STAGE: Final = 1
MICROBATCHES: Final = 4

_MESSAGE: Final = struct.Struct("<Bqq")
_BEGIN, _FINISHED, _WAIT = range(3)


class RemotePeers:
    """The real stage's end in one step. See `hydro.squeezer.hooks.peers.Meeting`."""

    def __init__(self, link: socket.socket, step: int, begin_ns: int) -> None:
        self._link = link
        self.order = one_forward_one_backward(STAGES, STAGE, MICROBATCHES)
        self._index = {operation: index for index, operation in enumerate(self.order)}
        self._send(_BEGIN, step, begin_ns)

    def wait(self, operation: Operation | None) -> None:
        """Receives, as the stage of a real run does."""
        self._send(_WAIT, len(self.order) if operation is None else self._index[operation], 0)
        if not self._link.recv(1):
            raise ConnectionError("the peers' process has ended")

    def finished(self, operation: Operation, now_ns: int) -> None:
        """Sends."""
        self._send(_FINISHED, self._index[operation], now_ns)

    def _send(self, kind: int, first: int, second: int) -> None:
        self._link.sendall(_MESSAGE.pack(kind, first, second))


def serve(link: socket.socket, forward_seconds: float, backward_seconds: float) -> None:
    """Simulates until the stage hangs up."""
    durations = peer_durations(RecordedSchedule.load(), forward_seconds, backward_seconds)
    order = one_forward_one_backward(STAGES, STAGE, MICROBATCHES)
    peers = Peers(STAGES, STAGE, MICROBATCHES, 0, durations(0))
    while len(content := link.recv(_MESSAGE.size, socket.MSG_WAITALL)) == _MESSAGE.size:
        kind, first, second = _MESSAGE.unpack(content)
        if kind == _BEGIN:
            peers = Peers(STAGES, STAGE, MICROBATCHES, second, durations(first))
        elif kind == _FINISHED:
            peers.finished(order[first], second)
        else:
            peers.wait(order[first] if first < len(order) else None)
            link.sendall(b"!")


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), float(sys.argv[2]), float(sys.argv[3]))
