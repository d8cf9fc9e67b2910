"""Trains the ladder: octaves at the surrogate's width, then half octaves around the best, and at two larger widths."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hydro.kit.errors import FieldViolation, InvalidArgument
from hydro.tuner.building.rate_sweep import RateSweep
from hydro.tuner.planning.plan import Value
from hydro.tuner.shrinking.ladder import Ladder, Rung
from hydro.tuner.shrinking.loss_curve import lowest
from hydro.tuner.shrinking.solution import Solution
from hydro.tuner.shrinking.transfer import LEARNING_RATES

SEEDS = (0, 1, 2, 3, 4)
"""With three, Student's interval is wider than what is asked of it for nearly every model."""

MOST_MOVES = 4
"""So often the rates of a rung are moved towards the best one; after that the report says that it lies at their end."""

_HALF_OCTAVES = (-1.0, -0.5, 0.0, 0.5, 1.0)

SolutionAt = Callable[[float], Solution | None]


@dataclass(frozen=True, slots=True)
class LearningRate:
    """The hyperparameter whose best value is followed, and where it is searched."""

    name: str
    low: float
    high: float

    @property
    def octaves(self) -> list[float]:
        """Log2 of the rates that are tried first."""
        first, last = math.floor(math.log2(self.low)), math.ceil(math.log2(self.high))
        return [float(each) for each in range(first, last + 1)]


def searched_rate(values: Mapping[str, Sequence[Value]]) -> LearningRate:
    """Finds the learning rate among the hyperparameters that vary.

    Raises:
        InvalidArgument: there is none by a name that is known, or it may be zero.
    """
    for name, extremes in values.items():
        numbers = [float(each) for each in extremes if not isinstance(each, str)]
        if name.lower() in LEARNING_RATES and len(numbers) > 1:
            if min(numbers) > 0:
                return LearningRate(name, min(numbers), max(numbers))
            raise _violation(f"needs a learning rate above zero: {name} goes down to {min(numbers):g}")
    raise _violation(f"needs a learning rate in the search space, by the name of {' or '.join(LEARNING_RATES)}")


def climb(sweep: RateSweep, rate: LearningRate, width: float, solution_at: SolutionAt = lambda width: None) -> Ladder:
    """Trains the rungs, from the surrogate's width to at most four times that.

    Args:
        sweep: What trains them.
        rate: The learning rate, and where it is searched.
        width: Of the surrogate.
        solution_at: The surrogate of a width, where it is more than the width that rises; None: it is solved.

    Raises:
        TaskFailed: the task's own code raised.
    """
    coarse = sweep.losses(width, SEEDS[0], rate.octaves, solution_at(width))
    middle = lowest(coarse)
    rungs = list[Rung]()
    for each in rung_widths(width):
        rungs.append(_rung(sweep, each, solution_at(each), middle))
        middle = lowest(rungs[-1].mean())
    return Ladder(tuple(rungs))


def rung_widths(width: float) -> tuple[float, ...]:
    """Three widths, a factor of two apart, or fewer where the target comes first."""
    return tuple(sorted({min(1.0, factor * width) for factor in (1, 2, 4)}))


def _rung(sweep: RateSweep, width: float, solution: Solution | None, middle: float) -> Rung:
    curves: dict[int, dict[float, float]] = {seed: {} for seed in SEEDS}
    for _ in range(MOST_MOVES):
        rates = [middle + each for each in _HALF_OCTAVES]
        for seed, curve in curves.items():
            wanted = [each for each in rates if each not in curve]
            if wanted:
                curve.update(sweep.losses(width, seed, wanted, solution))
        rung = Rung(width, curves)
        if rung.is_enclosed:
            return rung
        middle = lowest(rung.mean())
    return rung


def _violation(needs: str) -> InvalidArgument:
    return InvalidArgument.of([FieldViolation("verification.checks", f"CHECK_LADDER {needs}")])
