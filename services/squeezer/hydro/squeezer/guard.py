"""How far before a bubble's forecast end the gate's deadline lies, and when not to open it at all.

Additive and multiplicative steps on measured lag, with a ledger of past lag (C-Laius: delay once caused is paid back by
caution later), a breaker, and a share of the bubbles that falls with each time the breaker opens and comes back step by
step (SMQoS: the share follows the quality of service that is measured).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median
from typing import Final

_DEVIATIONS: Final = 1.4826  # of a normal distribution, per median absolute deviation
_LEDGER_DECAY: Final = 0.9
_LEDGER_SPREAD: Final = 2.3  # standard deviation of the decayed sum, per standard deviation of a step
_ENOUGH_STEPS: Final = 3
_BASELINE_STEPS: Final = 16


@dataclass(frozen=True, slots=True)
class GuardSettings:
    """Numbers of the guard.

    Units: nanoseconds where the name says so; shares of 1 else.
    """

    slowdown_budget: float = 0.01
    initial_ns: int = 1_000_000
    near_ns: int = 1_000_000
    """A bubble that ends so soon after its deadline is near it."""
    smallest_ns: int = 200_000
    largest_ns: int = 20_000_000
    breaker_budgets: float = 10.0
    """The breaker opens when the ledger exceeds so many budgets of one step, beyond the noise."""
    breaker_steps: int = 8
    longest_breaker_steps: int = 64
    smallest_share: float = 0.125
    """Of the bubbles that are opened, however often the breaker was."""
    share_step: float = 1 / 64
    """What a step without lag gives back of it."""


class Guard:
    """Keeps the pipeline run within its slowdown budget.

    A step's time is compared with the median of blank steps, those in which no trial worked. Steps vary by themselves,
    so only what exceeds the blank steps' own spread counts as lag; a segment seen to outlast its bubble counts at once.
    """

    def __init__(self, settings: GuardSettings | None = None) -> None:
        self._settings = settings or GuardSettings()
        self._blank: deque[int] = deque(maxlen=32)
        self.guard_ns = self._settings.initial_ns
        self.lag_ns = 0.0
        self.breaker_trips = 0
        self.share = 1.0
        """Of the bubbles that may be opened."""
        self._credit = 0.0
        self._closed_steps = 0
        self._next_closed_steps = self._settings.breaker_steps

    @property
    def breaker_is_open(self) -> bool:
        """The budget was exceeded: no trial works for some steps."""
        return self._closed_steps > 0

    @property
    def has_baseline(self) -> bool:
        """Enough blank steps were seen to tell a slow step."""
        return len(self._blank) >= _ENOUGH_STEPS

    @property
    def baseline_ns(self) -> int | None:
        """Median of the latest blank steps: a machine's speed drifts."""
        return int(median(list(self._blank)[-_BASELINE_STEPS:])) if self.has_baseline else None

    def lets_open(self) -> bool:
        """Says of one bubble after the other whether it is among the share."""
        self._credit += self.share
        is_among = self._credit >= 1.0
        self._credit -= is_among
        return is_among

    def blank_step(self, step_ns: int) -> None:
        """Records a step in which no trial worked."""
        self._blank.append(step_ns)
        if self._closed_steps:
            self._closed_steps -= 1
            self.lag_ns *= _LEDGER_DECAY

    def squeezed_step(self, step_ns: int, late_ns: int, *, is_near: bool = True) -> None:
        """Records a step with trials in its bubbles, and how long segments ran past the ends of bubbles in it.

        `is_near`: a bubble ended before its deadline, or soon after. Where all ended well after theirs, a wider guard
        would not have made the step faster: what slowed it is left to the breaker.
        """
        baseline_ns = self.baseline_ns
        if baseline_ns is None:
            return
        budget_ns = self._settings.slowdown_budget * baseline_ns
        noise_ns = self._noise_ns()
        self.lag_ns = max(0.0, _LEDGER_DECAY * self.lag_ns + step_ns - baseline_ns)
        if self.lag_ns > self._settings.breaker_budgets * budget_ns + 3 * noise_ns:
            self._trip()
        elif late_ns > budget_ns or (is_near and self.lag_ns > budget_ns + noise_ns):
            self._raise()
        else:
            self._lower()

    def invalidate(self) -> None:
        """Forgets the baseline: the schedule or the shapes have changed."""
        self._blank.clear()
        self.lag_ns = 0.0

    def _noise_ns(self) -> float:
        middle = median(self._blank)
        spread = median(abs(each - middle) for each in self._blank)
        return _DEVIATIONS * _LEDGER_SPREAD * spread

    def _trip(self) -> None:
        self.breaker_trips += 1
        self._closed_steps = self._next_closed_steps
        # A budget exceeded again soon after means that waiting was too short.
        self._next_closed_steps = min(self._settings.longest_breaker_steps, 2 * self._next_closed_steps)
        self.lag_ns = 0.0
        self.share = max(self._settings.smallest_share, self.share / 2)
        self._raise()

    def _raise(self) -> None:
        self.guard_ns = min(self._settings.largest_ns, self.guard_ns * 3 // 2 + 100_000)

    def _lower(self) -> None:
        self.guard_ns = max(self._settings.smallest_ns, self.guard_ns - self.guard_ns // 64 - 20_000)
        if self.lag_ns == 0.0:
            self.share = min(1.0, self.share + self._settings.share_step)
            self._next_closed_steps = self._settings.breaker_steps
