"""From losses by learning rate to the best one, its drift and its regret, with 95 % intervals over seeds.

A curve is fitted by a parabola of log loss over log2 lr around its lowest point, because the lowest point of a grid is
as noisy as the losses. Drift: the difference between the fitted optima of the mean curves, which is where the expected
loss is least, with a jackknife over paired seeds (a seed is the same data in the same order at every width); the mean
of the seeds' own optima is another thing, since a flat curve's optimum is no linear function of its noise. Regret: what
the target's parabola is at the surrogate's best rate over its lowest point, where that rate lies within the fit, and
else the losses as measured; its interval is a bootstrap that draws seeds for surrogate and target alike, fits and
chooses anew each time, and so holds the error of choosing. `measured_regret` is from the losses alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from benchmarks.transfer.runs import Losses
from benchmarks.transfer.subjects import STEPS_PER_OCTAVE
from hydro.tuner.shrinking.confidence import Interval, mean_interval
from hydro.tuner.shrinking.loss_curve import REACH_OCTAVES, fit_parabola, fitted_optimum

REACH = round(REACH_OCTAVES * STEPS_PER_OCTAVE)
"""Grid steps on each side of the lowest point that the parabola is fitted to."""

DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Curves:
    """One model's losses: by seed, all at the same learning rates."""

    by_seed: Mapping[int, Losses]
    chance: float
    """The loss of a guess: what a run that diverged counts as."""

    @property
    def seeds(self) -> tuple[int, ...]:
        """In their order."""
        return tuple(sorted(self.by_seed))

    @property
    def exponents(self) -> tuple[int, ...]:
        """The rates that every seed was trained with."""
        common = set.intersection(*(set(losses) for losses in self.by_seed.values()))
        return tuple(sorted(common))

    def loss(self, seed: int, exponent: int) -> float:
        """Never above a guess."""
        return min(self.by_seed[seed][exponent], self.chance)

    def mean(self, seeds: Sequence[int] | None = None) -> Losses:
        """The mean over seeds, which may come more than once."""
        return {each: fmean(self.loss(seed, each) for seed in seeds or self.seeds) for each in self.exponents}

    def diverged(self, exponent: int) -> int:
        """Seeds that end with this rate where a guess would."""
        return sum(not losses[exponent] < self.chance for losses in self.by_seed.values())

    def best(self, seeds: Sequence[int] | None = None) -> float:
        """The fitted best rate of the mean curve, in octaves."""
        mean = self.mean(seeds)
        return fitted(mean, lowest(mean))

    def best_without(self, seed: int) -> float:
        """That of the other seeds, fitted where all seeds' mean curve is lowest."""
        return fitted(self.mean([each for each in self.seeds if each != seed]), lowest(self.mean()))

    def nearest(self, octaves: float) -> int:
        """The trained rate that is nearest."""
        return min(self.exponents, key=lambda each: abs(each / STEPS_PER_OCTAVE - octaves))


def lowest(curve: Losses) -> int:
    """The exponent with the least loss."""
    return min(curve, key=lambda each: curve[each])


def window(middle: int) -> range:
    """The exponents that a parabola is fitted to."""
    return range(middle - REACH, middle + REACH + 1)


def fitted(curve: Losses, middle: int) -> float:
    """The best rate by a parabola around an exponent, in octaves."""
    octaves = {each / STEPS_PER_OCTAVE: loss for each, loss in curve.items()}
    return fitted_optimum(octaves, middle / STEPS_PER_OCTAVE)


def drift(surrogate: Curves, target: Curves) -> Interval:
    """The surrogate's best log2 lr minus the target's; the interval is that of the jackknife's pseudo-values.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 11.
    """
    count, whole = len(target.seeds), surrogate.best() - target.best()
    without = [surrogate.best_without(seed) - target.best_without(seed) for seed in target.seeds]
    interval = mean_interval([count * whole - (count - 1) * each for each in without])
    # The estimate is what was measured; its pseudo-values tell the spread alone.
    return Interval(whole, interval.low + whole - interval.mean, interval.high + whole - interval.mean)


def measured_regret(surrogate: Curves, target: Curves) -> Interval:
    """The same from the losses alone, at the two rates of the grid: Student's t, paired over the target's seeds."""
    chosen, own = target.nearest(surrogate.best()), target.nearest(target.best())
    return mean_interval([target.loss(seed, chosen) / target.loss(seed, own) - 1 for seed in target.seeds])


def regret(surrogate: Curves, target: Curves) -> Interval:
    """The target's loss at the surrogate's best rate over that at its own best, less one."""
    seeds = target.seeds
    generator = np.random.default_rng(0)
    # One draw less than there are seeds: else so few of them give an interval that is too narrow.
    draws = [
        _regret(surrogate, target, [seeds[index] for index in generator.integers(len(seeds), size=len(seeds) - 1)])
        for _ in range(DRAWS)
    ]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(_regret(surrogate, target, seeds), float(low), float(high))


def _regret(surrogate: Curves, target: Curves, seeds: Sequence[int]) -> float:
    best, mean = surrogate.best(seeds), target.mean(seeds)
    curve = {each / STEPS_PER_OCTAVE: loss for each, loss in mean.items()}
    parabola = fit_parabola(curve)
    if parabola and abs(best - lowest(mean) / STEPS_PER_OCTAVE) <= REACH_OCTAVES:
        return parabola.excess(best)
    chosen, own = target.nearest(best), target.nearest(target.best(seeds))
    at_chosen = fmean(target.loss(seed, chosen) for seed in seeds)
    return at_chosen / fmean(target.loss(seed, own) for seed in seeds) - 1
