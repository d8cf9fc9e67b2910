"""What adapters of engines share: it counts places in the schedule, and notices when the schedule is another."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

from hydro.squeezer.hooks.events import BUBBLES, Activity, StageEvents
from hydro.squeezer.hooks.memory import measure_memory

_OF_SCHEDULE: Final = frozenset({Activity.FORWARD, Activity.BACKWARD, Activity.WEIGHT, Activity.WAIT})
"""Activities whose order makes the schedule; an optimizer may skip a step, with its collectives."""


class StepProbe:
    """Runs an engine's calls for it, and tells of them.

    The schedule index is the place of a call among the step's calls, so the same call has the same index in each step.
    Outside of steps (evaluation, checkpoints) calls run untold.

    Args:
        events: who is told.
    """

    def __init__(self, events: StageEvents) -> None:
        self._events = events
        self._step = -1
        self._index = 0
        self._is_in_step = False
        self._is_in_bubble = False
        self._order = 0
        self._earlier: tuple[Hashable, int] | None = None

    def step(self, shapes: Hashable, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        """Runs one step; `shapes` is whatever tells one schedule from another, beside the order of its calls."""
        self._step += 1
        self._index = self._order = 0
        self._is_in_step = True
        self._events.step_begin(self._step)
        try:
            return function(*arguments, **keywords)
        finally:
            self._events.step_end(self._step)
            self._is_in_step = self._is_in_bubble = False
            self._events.memory(measure_memory)
            self._compare((shapes, self._order))

    def run(self, activity: Activity, function: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        """Runs a call that is this activity."""
        is_bubble = activity in BUBBLES
        if not self._is_in_step or (is_bubble and self._is_in_bubble):
            return function(*arguments, **keywords)
        index = self._index
        self._index += 1
        if activity in _OF_SCHEDULE:
            self._order = hash((self._order, activity))
        self._is_in_bubble = is_bubble
        self._events.begin(activity, index)
        try:
            return function(*arguments, **keywords)
        finally:
            self._events.end(activity, index)
            self._is_in_bubble = False

    def _compare(self, schedule: tuple[Hashable, int]) -> None:
        if self._earlier is not None and schedule != self._earlier:
            self._events.schedule_changed()
        self._earlier = schedule
