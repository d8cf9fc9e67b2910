"""What is searched: test functions, each seed with its own shift, and a table of real trainings."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import optuna

from benchmarks.functions import FUNCTIONS
from benchmarks.search.make_table import TABLE
from hydro.client import Domain, integer, uniform

Point = Mapping[str, Any]
SHIFT = 0.1
"""Each seed moves a function's least point by up to so much of its range, so that seeds are instances of their own."""
RESOLUTION = 1e-3
"""Regrets below this share of a subject's spread are the same: what is found to so many digits is found."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One parameter: from low to high, whole numbers or all."""

    name: str
    low: float
    high: float
    is_whole: bool = False

    @property
    def domain(self) -> Domain:
        """As our client takes it."""
        return integer(int(self.low), int(self.high)) if self.is_whole else uniform(self.low, self.high)

    @property
    def distribution(self) -> optuna.distributions.BaseDistribution:
        """As Optuna takes it."""
        if self.is_whole:
            return optuna.distributions.IntDistribution(int(self.low), int(self.high))
        return optuna.distributions.FloatDistribution(self.low, self.high)


@dataclass(frozen=True, slots=True)
class Subject:
    """Something to be minimized. `value` takes a point and a seed, `spread` is what a regret is measured against."""

    name: str
    axes: tuple[Axis, ...]
    value: Callable[[Point, int], float]
    least: float
    spread: float


@cache
def subject(name: str) -> Subject:
    """The subject of a name: one of the functions, or "digits table"."""
    return _digits_table() if name == "digits table" else _shifted(name)


def _shifted(name: str) -> Subject:
    function, bounds, least = FUNCTIONS[name]
    axes = tuple(Axis(f"x{index}", low, high) for index, (low, high) in enumerate(bounds))

    def value(point: Point, seed: int) -> float:
        random = Random(f"{name}/{seed}")
        moved = [random.uniform(-SHIFT, SHIFT) * (axis.high - axis.low) for axis in axes]
        return function([float(point[axis.name]) - shift for axis, shift in zip(axes, moved, strict=True)])

    random = Random(name)
    drawn = sorted(
        value({axis.name: random.uniform(axis.low, axis.high) for axis in axes}, seed) for seed in range(201)
    )
    return Subject(name, axes, value, least, drawn[len(drawn) // 2] - least)


def _digits_table() -> Subject:
    table = json.loads(TABLE.read_text())
    sizes = [len(values) for values in table["axes"].values()]
    indices = list(itertools.product(*map(range, sizes)))
    # A training that diverged has no loss: it is as bad as the worst of the others.
    worst = max(each for each in table["validation_loss"] if each is not None)
    losses = {
        index: worst if loss is None else loss for index, loss in zip(indices, table["validation_loss"], strict=True)
    }
    axes = tuple(Axis(name, 0, size - 1, is_whole=True) for name, size in zip(table["axes"], sizes, strict=True))
    ordered = sorted(losses.values())
    return Subject(
        "digits table",
        axes,
        lambda point, seed: losses[tuple(int(point[axis.name]) for axis in axes)],
        ordered[0],
        ordered[len(ordered) // 2] - ordered[0],
    )
