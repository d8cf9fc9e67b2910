"""Decides at each bubble whether the gate opens, and until when: values in, values out, no clock, page or thread."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hydro.squeezer.bubble import Anchor, BubbleForecast
from hydro.squeezer.guard import Guard, GuardSettings

_NANOSECONDS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to work in one bubble.

    Units: nanoseconds of the monotonic clock.
    """

    deadline_ns: int
    longest_ns: int
    """The longest grant that this schedule's bubbles give."""


@dataclass(frozen=True, slots=True)
class WorkerProgress:
    """What the worker has done so far, from its page.

    Units: nanoseconds.
    """

    used_ns: int = 0
    late_ns: int = 0


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """Numbers of the controller."""

    guard: GuardSettings = GuardSettings()
    blank_interval: int = 20
    """Each so many steps, one stays without trials: the honest baseline."""
    smallest_grant_ns: int = 500_000
    """A shorter opening costs more than it gives."""
    quantile: float = 0.05


@dataclass(slots=True)
class Totals:
    """Sums since the stage attached.

    Units: nanoseconds.
    """

    steps: int = 0
    blank_steps: int = 0
    blank_ns: int = 0
    squeezed_steps: int = 0
    squeezed_ns: int = 0
    bubbles: int = 0
    bubble_ns: int = 0
    gates_opened: int = 0
    open_ns: int = 0


class Controller:
    """The rules of one stage's gate.

    The caller reports step and bubble events in order, and opens the gate as the `Grant` says.
    """

    def __init__(self, settings: ControllerSettings | None = None) -> None:
        self._settings = settings or ControllerSettings()
        self.forecast = BubbleForecast(self._settings.quantile)
        self.guard = Guard(self._settings.guard)
        self.totals = Totals()
        self._step_begin_ns: int | None = None
        self._bubble: tuple[int, int] | None = None
        self._anchor: Anchor | None = None
        self._granted: Grant | None = None
        self._is_near = False
        self._progress = WorkerProgress()
        self._since_blank = 0

    @property
    def longest_grant_ns(self) -> int:
        """The longest time that a segment can get."""
        return max(0, self.forecast.longest_ns() - self.guard.guard_ns)

    @property
    def wanted(self) -> Iterator[int]:
        """Schedule indices of the bubbles that are usually long enough to be opened."""
        if self.guard.has_baseline and not self.guard.breaker_is_open:
            yield from self.forecast.longer_than(self._shortest_ns)

    @property
    def duty_cycle(self) -> float:
        """Share of the steps' time that is bubble."""
        total_ns = self.totals.blank_ns + self.totals.squeezed_ns
        return min(1.0, self.totals.bubble_ns / total_ns) if total_ns else 0.0

    def step_begin(self, now_ns: int) -> None:
        """A step of the pipeline run begins."""
        self._step_begin_ns = now_ns
        self._anchor = Anchor(None, now_ns)
        self._is_near = False
        self._since_blank += 1

    def step_end(self, now_ns: int, progress: WorkerProgress) -> None:
        """A step has ended; `progress` is what the worker has done in all."""
        if self._step_begin_ns is None:
            self._progress = progress
            return
        step_ns = now_ns - self._step_begin_ns
        self._step_begin_ns = None
        if step_ns <= 0:
            # A clock that goes backwards says nothing.
            self._progress = progress
            return
        self.totals.steps += 1
        if progress == self._progress:
            self._count_blank(step_ns)
        else:
            self._count_squeezed(step_ns, max(0, progress.late_ns - self._progress.late_ns))
        self._progress = progress

    def bubble_begin(self, schedule_index: int, now_ns: int, *, claimed: bool) -> Grant | None:
        """A bubble begins. Gives leave to open the gate, or None to keep it closed."""
        self._bubble = (schedule_index, now_ns)
        self._granted = self._grant(schedule_index, now_ns) if claimed else None
        return self._granted

    def opened(self) -> None:
        """The gate was opened as granted."""
        self.totals.gates_opened += 1

    def bubble_end(self, schedule_index: int, now_ns: int) -> None:
        """The bubble has ended."""
        begun, self._bubble = self._bubble, None
        granted, self._granted = self._granted, None
        anchor, self._anchor = self._anchor, Anchor(schedule_index, now_ns)
        if begun is None or begun[0] != schedule_index or now_ns < begun[1]:
            # Its beginning was dropped, or the clock went backwards: there is no duration.
            return
        began_ns = begun[1]
        self.forecast.observe(schedule_index, began_ns, now_ns, anchor)
        self.totals.bubbles += 1
        self.totals.bubble_ns += now_ns - began_ns
        if granted is not None:
            self._is_near |= now_ns < granted.deadline_ns + self._settings.guard.near_ns
            self.totals.open_ns += max(0, min(now_ns, granted.deadline_ns) - began_ns)

    def invalidate(self) -> None:
        """The schedule or the shapes have changed: nothing observed counts any more."""
        self.forecast.invalidate()
        self.guard.invalidate()
        self._step_begin_ns = None
        self._bubble = self._anchor = None

    def forget_worker(self) -> None:
        """Another worker's progress starts from zero."""
        self._progress = WorkerProgress()

    def _grant(self, schedule_index: int, now_ns: int) -> Grant | None:
        forecast_ns = self.forecast.forecast_ns(schedule_index, now_ns, self._anchor)
        if forecast_ns is None or not self.guard.has_baseline or self.guard.breaker_is_open or self._is_blank():
            return None
        if forecast_ns < self._shortest_ns:
            return None
        if not self.guard.lets_open():
            return None
        return Grant(now_ns + forecast_ns - self.guard.guard_ns, self.longest_grant_ns)

    @property
    def _shortest_ns(self) -> int:
        """The shortest bubble that is opened."""
        return self.guard.guard_ns + self._settings.smallest_grant_ns

    def _is_blank(self) -> bool:
        return self._since_blank >= self._settings.blank_interval

    def _count_blank(self, step_ns: int) -> None:
        self._since_blank = 0
        self.totals.blank_steps += 1
        self.totals.blank_ns += step_ns
        self.guard.blank_step(step_ns)

    def _count_squeezed(self, step_ns: int, late_ns: int) -> None:
        self.totals.squeezed_steps += 1
        self.totals.squeezed_ns += step_ns
        self.guard.squeezed_step(step_ns, late_ns, is_near=self._is_near)
