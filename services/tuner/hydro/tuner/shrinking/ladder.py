"""L3 of verification: does the best learning rate stay where it is when the surrogate grows?

Surrogates of three widths, each trained with the same few learning rates and seeds. The drift is the narrowest one's
best log2 lr minus the widest one's, paired over seeds, with Student's interval. A drift that is sure, and goes one way
from rung to rung, is extrapolated to the target, linearly in the logarithm of the width, rather than given up.

Source of the bound: what half an octave costs is measured by `benchmarks.transfer`; extrapolation in the logarithm of
the width after Kalra & Barkeshli 2026 (arXiv:2605.21486).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean

from hydro.tuner.shrinking.confidence import Interval, mean_interval
from hydro.tuner.shrinking.loss_curve import LossCurve, fitted_optimum, lowest

DRIFT_OCTAVES = 0.5
"""A drift within this of zero costs little: the best learning rate transfers."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One width: the losses of every seed, all at the same learning rates."""

    width: float
    by_seed: Mapping[int, LossCurve]

    def mean(self) -> LossCurve:
        """The mean over seeds; a rate with which any of them diverges is infinitely bad."""
        rates = next(iter(self.by_seed.values()))
        return {rate: fmean(curve[rate] for curve in self.by_seed.values()) for rate in rates}

    @property
    def best(self) -> float:
        """The best log2 lr of the mean."""
        return fitted_optimum(self.mean())

    @property
    def finite_losses(self) -> tuple[tuple[float, float], ...]:
        """Log2 lr and mean loss, rising; without the rates that diverged."""
        return tuple((rate, loss) for rate, loss in sorted(self.mean().items()) if math.isfinite(loss))

    @property
    def best_by_seed(self) -> tuple[float, ...]:
        """Each seed's own best log2 lr, fitted where the mean is lowest."""
        middle = lowest(self.mean())
        return tuple(fitted_optimum(self.by_seed[seed], middle) for seed in sorted(self.by_seed))

    @property
    def is_enclosed(self) -> bool:
        """Whether there are worse rates on both sides of the best."""
        mean = self.mean()
        return min(mean) < lowest(mean) < max(mean)


@dataclass(frozen=True, slots=True)
class Ladder:
    """Rungs of rising width, with the same seeds."""

    rungs: tuple[Rung, ...]

    @property
    def drift(self) -> Interval:
        """The narrowest rung's best log2 lr minus the widest one's, in octaves."""
        narrow, wide = self.rungs[0].best_by_seed, self.rungs[-1].best_by_seed
        return mean_interval([one - other for one, other in zip(narrow, wide, strict=True)])

    @property
    def transfers(self) -> bool:
        """Whether the drift is surely small."""
        return self.drift.is_within(DRIFT_OCTAVES)

    @property
    def has_failed(self) -> bool:
        """Whether the drift is surely large."""
        return self.drift.is_outside(DRIFT_OCTAVES)

    @property
    def target_octaves(self) -> float | None:
        """What to add to the surrogate's best log2 lr for the target; None where nothing is sure enough.

        That needs a drift whose interval leaves out zero, and bests that go one way from rung to rung.
        """
        bests = [rung.best for rung in self.rungs]
        steps = [after - before for before, after in zip(bests, bests[1:], strict=False)]
        is_monotone = all(step > 0 for step in steps) or all(step < 0 for step in steps)
        if not self.drift.is_outside(0.0) or not is_monotone:
            return None
        slope = -self.drift.mean / math.log2(self.rungs[-1].width / self.rungs[0].width)
        return slope * math.log2(1 / self.rungs[0].width)

    @property
    def finding(self) -> str:
        """What follows, in a sentence or two."""
        drift = self.drift
        measured = f"the best learning rate drifts by {drift.mean:+.2f} octaves [{drift.low:+.2f}, {drift.high:+.2f}]"
        measured += f" from width {self.rungs[-1].width:.4g} to width {self.rungs[0].width:.4g}"
        octaves = self.target_octaves
        advice = (
            "" if octaves is None else f"; extrapolated, the target's best is 2^{octaves:+.2f} times the surrogate's"
        )
        if self.transfers:
            return f"ladder: {measured}: it transfers{advice}"
        if self.has_failed:
            return f"ladder: {measured}, more than {DRIFT_OCTAVES} octaves: it does not transfer{advice}"
        return (
            f"ladder: {measured}: too wide an interval to tell whether it transfers; train more seeds or steps{advice}"
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know."""
        unenclosed = tuple(
            f"ladder: at width {rung.width:.4g} the best learning rate is at the end of those that were tried"
            for rung in self.rungs
            if not rung.is_enclosed
        )
        return unenclosed if self.transfers else (*unenclosed, self.finding)

    def __str__(self) -> str:
        seeds = len(self.rungs[0].by_seed)
        rows = [
            f"  width {rung.width:.4g}: best lr 2^{rung.best:+.2f}; "
            + ", ".join(f"2^{rate:+.4g}: {loss:.4g}" for rate, loss in sorted(rung.mean().items()))
            for rung in self.rungs
        ]
        return "\n".join([f"ladder of {len(self.rungs)} widths, {seeds} seeds:", *rows, f"  {self.finding}"])
