"""The other stages of a replayed run: a simulator that waits for the real stage as the real ones would."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from hydro.squeezer.pipeline import Operation, OperationKind, one_forward_one_backward

DurationNs = Callable[[int, Operation], int]


class Meeting(Protocol):
    """How the real stage meets its peers in one step."""

    @property
    def order(self) -> tuple[Operation, ...]:
        """The real stage's operations."""
        ...

    def wait(self, operation: Operation | None) -> None:
        """Returns when the operation can start; None stands for the collective at the step's end."""
        ...

    def finished(self, operation: Operation, now_ns: int) -> None:
        """The real stage has finished an operation, and sent its output."""
        ...


class Peers:
    """Finish times of the peers in one step, from what the real stage did and when.

    The loop is closed: an operation of a peer that needs the real stage's output starts no earlier than that was
    finished, so a delay of the real stage comes back to it as a longer step. A replay of recorded waits would swallow
    it.

    Args:
        stages: how many.
        stage: the real one.
        microbatches: in a step.
        start_ns: when the step began.
        duration_ns: how long a stage takes for an operation.
    """

    def __init__(self, stages: int, stage: int, microbatches: int, start_ns: int, duration_ns: DurationNs) -> None:
        self._stages = stages
        self._stage = stage
        self._start_ns = start_ns
        self._duration_ns = duration_ns
        self._orders = [one_forward_one_backward(stages, each, microbatches) for each in range(stages)]
        self._done = [0] * stages
        self._free_ns = [start_ns] * stages
        self._finished_ns: dict[tuple[int, Operation], int] = {}

    @property
    def order(self) -> tuple[Operation, ...]:
        """The real stage's operations."""
        return self._orders[self._stage]

    def ready_ns(self, operation: Operation) -> int:
        """Gives when the real stage can start an operation, once it has finished those before."""
        self._advance()
        needed = self._needed(self._stage, operation)
        return self._start_ns if needed is None else self._finished_ns[needed]

    def finished(self, operation: Operation, now_ns: int) -> None:
        """The real stage has finished an operation, and sent its output."""
        self._finished_ns[self._stage, operation] = now_ns

    def end_ns(self) -> int:
        """Gives when all peers are done, once the real stage is."""
        self._advance()
        return max((free for each, free in enumerate(self._free_ns) if each != self._stage), default=self._start_ns)

    def wait(self, operation: Operation | None) -> None:
        """Sleeps until the operation can start; None stands for the collective at the step's end."""
        until_ns = self.end_ns() if operation is None else self.ready_ns(operation)
        while (left_ns := until_ns - time.monotonic_ns()) > 0:
            time.sleep(left_ns / 1e9)

    def _advance(self) -> None:
        while any(self._advance_peer(each) for each in range(self._stages) if each != self._stage):
            pass

    def _advance_peer(self, stage: int) -> bool:
        order, moved = self._orders[stage], False
        while self._done[stage] < len(order):
            operation = order[self._done[stage]]
            needed = self._needed(stage, operation)
            if needed is not None and needed not in self._finished_ns:
                break
            ready_ns = self._start_ns if needed is None else self._finished_ns[needed]
            end_ns = max(ready_ns, self._free_ns[stage]) + self._duration_ns(stage, operation)
            self._finished_ns[stage, operation] = self._free_ns[stage] = end_ns
            self._done[stage] += 1
            moved = True
        return moved

    def _needed(self, stage: int, operation: Operation) -> tuple[int, Operation] | None:
        """What another stage must have finished first; None when nothing."""
        source = stage - 1 if operation.kind is OperationKind.FORWARD else stage + 1
        return (source, operation) if 0 <= source < self._stages else None
