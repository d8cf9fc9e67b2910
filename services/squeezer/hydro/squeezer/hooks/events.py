"""The one interface through which every engine's hook tells what its stage does, and those who listen to it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import IntEnum
from typing import Final, Protocol

from hydro.squeezer.events import EventKind
from hydro.squeezer.pipeline import StageMemory


class Activity(IntEnum):
    """What a stage is doing."""

    FORWARD = 1
    BACKWARD = 2
    """Of inputs and weights, or of inputs alone where the schedule computes the weights' gradients later."""
    WEIGHT = 3
    """The weights' part of a backward that was split."""
    OPTIMIZER = 4
    """The optimizer's step; collectives inside it are told apart."""
    SEND = 5
    """Handing a tensor to a peer."""
    WAIT = 6
    """Waiting for a peer's tensor: a bubble."""
    COLLECTIVE = 7
    """Meeting other stages or replicas in a collective, which is waiting for the last of them: a bubble."""


BUBBLES: Final = frozenset({Activity.WAIT, Activity.COLLECTIVE})
"""Activities in which the stage computes nothing."""


class StageEvents(Protocol):
    """Events of one stage, in order: what an engine's adapter calls.

    Laws: no call waits, and none raises; a step's events lie between its begin and its end; each `begin` has its `end`
    with the same schedule index. A bubble may lie inside another activity (a collective in the optimizer's step), never
    in a bubble. On a GPU an activity lies between the stream's last kernel before it and its last inside it; the host's
    time in the call says nothing.
    """

    def step_begin(self, step: int) -> None:
        """A step of the pipeline run begins."""

    def step_end(self, step: int) -> None:
        """The step has ended."""

    def begin(self, activity: Activity, schedule_index: int) -> None:
        """An activity begins, at this place of the step's schedule."""

    def end(self, activity: Activity, schedule_index: int) -> None:
        """The activity has ended."""

    def memory(self, measure: Callable[[], StageMemory]) -> None:
        """Now is the time to measure the stage's memory."""

    def schedule_changed(self) -> None:
        """Another schedule, other microbatches or other shapes from now on."""


class StageListener(Protocol):
    """Takes a stage's events with the times at which the device reached them. Calls neither wait nor raise."""

    @property
    def activities(self) -> Collection[Activity]:
        """Those whose begin and end it takes. What no listener takes costs the run nothing."""

    def take(
        self, kind: EventKind, stamp_ns: int, schedule_index: int, step: int, activity: Activity | None, /
    ) -> None:
        """Takes an event; `stamp_ns` is of the machine's monotonic clock, `activity` None where there is none."""

    def take_memory(self, memory: StageMemory) -> None:
        """Takes the stage's memory."""
