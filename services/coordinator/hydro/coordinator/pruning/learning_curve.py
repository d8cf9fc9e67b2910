"""Learning-curve extrapolation.

Source: Domhan, Springenberg and Hutter, "Speeding Up Automatic Hyperparameter Optimization of Deep Neural Networks by
Extrapolation of Learning Curves" (IJCAI 2015): the power law "pow3", c - a x^-alpha, of section 3.1, and the
termination criterion of section 3.3. Where they sample parameters, the two linear ones are integrated out here exactly,
for each alpha on a grid, so that a decision takes microseconds and is the same each time.
"""

from __future__ import annotations

import math
from collections import defaultdict

from hydro.coordinator.pruning.course import Course
from hydro.coordinator.pruning.pruner import Standing
from hydro.coordinator.pruning_rules import LearningCurvePruning

EXPONENTS = tuple(0.05 * 1.25**k for k in range(19))
"""Of the power laws that are mixed: 0.05 to 2.8."""
LEAST_MEASUREMENTS = 4
"""A power law has three parameters."""
_NOISE = 1e-6
"""Of the cost's own size: no curve is known better than this."""


class PowerLaw:
    """The least-squares fit of c + a x^-alpha to the points so far, kept up to date by moments.

    x is the share of the training that is done, so that x = 1 is its end.
    """

    def __init__(self, exponent: float) -> None:
        self._exponent = exponent
        self._count = 0
        self._mean_u = self._mean_y = 0.0
        self._uu = self._uy = self._yy = 0.0

    def add(self, x: float, y: float) -> None:
        """Takes in a point (Welford's update)."""
        u = x**-self._exponent
        self._count += 1
        before_u, before_y = u - self._mean_u, y - self._mean_y
        self._mean_u += before_u / self._count
        self._mean_y += before_y / self._count
        self._uu += before_u * (u - self._mean_u)
        self._uy += before_u * (y - self._mean_y)
        self._yy += before_y * (y - self._mean_y)

    def error(self) -> float:
        """The sum of the squared residuals."""
        explained = self._uy**2 / self._uu if self._uu > 0 else 0.0
        return max(0.0, self._yy - explained)

    def end(self, variance: float) -> tuple[float, float]:
        """The cost at x = 1, and the standard deviation of a measurement there."""
        if self._uu <= 0:
            return self._mean_y, math.sqrt(variance)
        ahead = 1.0 - self._mean_u
        spread = variance * (1 + 1 / self._count + ahead**2 / self._uu)
        return self._mean_y + self._uy / self._uu * ahead, math.sqrt(spread)


class Curve:
    """What one trial's costs say of its last one."""

    def __init__(self, max_steps: int) -> None:
        self._max_steps = max_steps
        self._laws = [PowerLaw(exponent) for exponent in EXPONENTS]
        self._count = 0
        self._size = 0.0

    def add(self, step: int, cost: float) -> None:
        """Takes in a cost. One before the first step is on no power law."""
        if step > 0:
            self._count += 1
            self._size = max(self._size, abs(cost))
            for law in self._laws:
                law.add(step / self._max_steps, cost)

    def chance_to_beat(self, cost: float) -> float:
        """The probability that the last cost is smaller. 1 while too little is known."""
        if self._count < LEAST_MEASUREMENTS:
            return 1.0
        floor = (self._size * _NOISE) ** 2 * self._count or 1e-300
        errors = [law.error() + floor for law in self._laws]
        least = min(errors)
        # Gaussian residuals of unknown size: their likelihood, with the size integrated out.
        weights = [math.exp((self._count - 2) / 2 * math.log(least / error)) for error in errors]
        chance = 0.0
        for law, weight, error in zip(self._laws, weights, errors, strict=True):
            mean, deviation = law.end(error / (self._count - 2))
            chance += weight * 0.5 * math.erfc((mean - cost) / (deviation * math.sqrt(2)))
        return chance / sum(weights)


class LearningCurveRule:
    """Ends a trial that will not beat the best trial trained to the end, with a stated confidence."""

    def __init__(self, rule: LearningCurvePruning, max_steps: int) -> None:
        self._rule = rule
        self._curves: defaultdict[int, Curve] = defaultdict(lambda: Curve(max_steps))
        self._finished = 0
        self._best = math.inf

    def take(self, trial: int, course: Course, step: int) -> None:
        """Takes in a measurement."""
        self._curves[trial].add(step, course.cost(step))

    def prunes(self, trial: int, course: Course, step: int) -> bool:
        """Whether the trial ends at the step."""
        rule = self._rule
        if self._finished < max(1, rule.startup_trials):
            return False
        if not course.is_first_of_interval(step, rule.warmup_steps, rule.measurement_interval_steps):
            return False
        return self._curves[trial].chance_to_beat(self._best) < 1 - rule.confidence

    def end(self, trial: int, course: Course, succeeded: bool) -> None:
        """From now on the trial is one to beat, if it succeeded."""
        self._curves.pop(trial, None)
        if succeeded and course:
            self._finished += 1
            self._best = min(self._best, course.last[1])

    def restore(self, trial: int, course: Course, standing: Standing) -> None:
        """Takes in a trial of the history."""
        if standing is Standing.OPEN:
            for step, cost in course.items():
                self._curves[trial].add(step, cost)
        else:
            self.end(trial, course, standing is Standing.SUCCEEDED)
