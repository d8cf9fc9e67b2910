"""What one trial has measured."""

from __future__ import annotations

from bisect import bisect_left
from math import inf


class Course:
    """A trial's costs in the order of their steps. Reports mostly come in that order: then each costs O(1)."""

    def __init__(self) -> None:
        self._steps: list[int] = []
        self._costs: list[float] = []
        self._best: list[float] = []
        """The best cost up to each step."""

    def __len__(self) -> int:
        return len(self._steps)

    def __bool__(self) -> bool:
        return bool(self._steps)

    @property
    def best(self) -> float:
        """The best cost so far; infinite while there is none."""
        return self._best[-1] if self._best else inf

    @property
    def last(self) -> tuple[int, float]:
        """The highest step, and the cost there."""
        return self._steps[-1], self._costs[-1]

    def take(self, step: int, cost: float) -> bool:
        """Takes in a measurement, and says whether it is new: the first one of a step stands."""
        place = bisect_left(self._steps, step)
        if place < len(self._steps) and self._steps[place] == step:
            return False
        self._steps.insert(place, step)
        self._costs.insert(place, cost)
        del self._best[place:]
        best = self._best[-1] if self._best else inf
        for later in self._costs[place:]:
            best = min(best, later)
            self._best.append(best)
        return True

    def cost(self, step: int) -> float:
        """The cost at a measured step."""
        return self._costs[bisect_left(self._steps, step)]

    def items(self) -> list[tuple[int, float]]:
        """All (step, cost)."""
        return list(zip(self._steps, self._costs, strict=True))

    def best_of_last(self, count: int) -> float:
        """The best of the last `count` costs."""
        return min(self._costs[-count:])

    def best_before_last(self, count: int) -> float:
        """The best of all costs but the last `count`."""
        return self._best[-count - 1]

    def is_first_of_interval(self, step: int, warmup: int, interval: int) -> bool:
        """Whether a measured step is the first one of an interval after the warm-up.

        Source: optuna.pruners, where rules are asked once an interval.
        """
        if step < warmup:
            return False
        start = (step - warmup) // interval * interval + warmup
        highest = len(self._steps) - 1
        other = highest - 1 if self._steps[highest] == step else highest
        return other < 0 or self._steps[other] < start
