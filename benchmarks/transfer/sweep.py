"""Finds a model's best learning rate: octaves with one seed, then quarter octaves around the best with all of them."""

from __future__ import annotations

from collections.abc import Collection

from benchmarks.transfer.curves import Curves, lowest, window
from benchmarks.transfer.runs import Model, Runs
from benchmarks.transfer.subjects import STEPS_PER_OCTAVE

MOST_EXTENSIONS = 6
"""A best rate that moves away so often is at no end of a search: something is wrong with the subject."""


def sweep(runs: Runs, model: Model) -> Curves:
    """Trains until the lowest point of the mean curve has an octave on both sides.

    Raises:
        RuntimeError: it never has.
    """
    seeds = range(model.subject.seeds)
    middle = _coarse(runs, model)
    for _ in range(MOST_EXTENSIONS):
        curves = Curves(runs.losses(model, seeds, window(middle)), model.subject.chance)
        middle = lowest(curves.mean())
        if set(window(middle)) <= set(curves.exponents) or not model.subject.must_settle:
            return curves
    raise RuntimeError(f"{model.name}: no learning rate has worse ones on both sides; the last was 2^({middle}/4)")


def extend(runs: Runs, model: Model, curves: Curves, exponents: Collection[int]) -> Curves:
    """The same with further rates."""
    if set(exponents) <= set(curves.exponents):
        return curves
    return Curves(runs.losses(model, curves.seeds, exponents), curves.chance)


def _coarse(runs: Runs, model: Model) -> int:
    first, last = model.subject.octaves
    if first == last:
        return first * STEPS_PER_OCTAVE
    octaves = [each * STEPS_PER_OCTAVE for each in range(first, last + 1)]
    losses = runs.losses(model, [0], octaves)[0]
    return lowest({each: losses[each] for each in octaves})
