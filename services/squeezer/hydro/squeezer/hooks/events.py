"""The one interface through which every engine's hook tells what its stage does."""

from __future__ import annotations

from typing import Protocol


class StageEvents(Protocol):
    """Events of one stage, in order.

    Laws: no call waits, and none raises; a step's events lie between its begin and its end; each `wait_begin` has its
    `wait_end` with the same schedule index. On a GPU, a wait lies between the stream's last kernel before it and its
    first after it; the host's time in the call says nothing.
    """

    def step_begin(self, step: int) -> None:
        """A step of the pipeline run begins."""

    def step_end(self, step: int) -> None:
        """The step has ended, optimizer included."""

    def wait_begin(self, schedule_index: int) -> None:
        """The stage waits for others before the operation of this index: a bubble begins."""

    def wait_end(self, schedule_index: int) -> None:
        """The wait is over."""

    def schedule_changed(self) -> None:
        """Another schedule, other microbatches or other shapes from now on."""


class SilentEvents:
    """Tells nobody: a run without a squeezer."""

    def step_begin(self, step: int) -> None:
        """Does nothing."""

    def step_end(self, step: int) -> None:
        """Does nothing."""

    def wait_begin(self, schedule_index: int) -> None:
        """Does nothing."""

    def wait_end(self, schedule_index: int) -> None:
        """Does nothing."""

    def schedule_changed(self) -> None:
        """Does nothing."""
