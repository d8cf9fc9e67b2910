"""Search spaces: which values each hyperparameter may take.

A space is a dict from names to domains::

    {
        "optimizer": choice(["sgd", "adam"]),
        "lr": loguniform(1e-3, 1),
        "momentum": uniform(0.5, 0.99).when(optimizer=["sgd"]),
        "dropout": uniform(0, 0.5, transfer=False),
    }
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

Scalar = bool | int | float | str
"""A value of a hyperparameter. There is no None: a choice of which one value is "nothing" names it, as in "none"."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Holds in a trial where the parent is active and has one of the values."""

    parent: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """The values of one hyperparameter, the trials it is active in, and whether the best one suits the target too."""

    conditions: tuple[Condition, ...] = ()
    transfer: bool = True

    def when(self, **parents: Sequence[Scalar]) -> Self:
        """The same domain, active only in trials where each named parent has one of the values listed for it."""
        added = tuple(Condition(parent, tuple(values)) for parent, values in parents.items())
        return replace(self, conditions=self.conditions + added)


@dataclass(frozen=True, slots=True)
class FloatDomain(Domain):
    """Real numbers in [min, max]; `step` 0 means continuous."""

    min: float
    max: float
    log: bool = False
    step: float = 0.0


@dataclass(frozen=True, slots=True)
class IntDomain(Domain):
    """Whole numbers in [min, max], `step` apart."""

    min: int
    max: int
    log: bool = False
    step: int = 1


@dataclass(frozen=True, slots=True)
class CategoricalDomain(Domain):
    """One of a list, in no order."""

    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class ConstantDomain(Domain):
    """One fixed value."""

    value: Scalar


SearchSpace = Mapping[str, Domain]


def uniform(low: float, high: float, *, step: float | None = None, transfer: bool = True) -> FloatDomain:
    """Real numbers in [low, high], all alike likely.

    Args:
        low: The smallest value.
        high: The largest value.
        step: Distance between neighbouring values, from `low`; None: continuous.
        transfer: False if the surrogate's best value is not the target's (dropout, label smoothing): a study with a
            surrogate leaves it at the task's default.
    """
    return FloatDomain(float(low), float(high), step=float(step or 0.0), transfer=transfer)


def loguniform(low: float, high: float, *, transfer: bool = True) -> FloatDomain:
    """Real numbers in [low, high], 0 < low, whose logarithms are all alike likely."""
    return FloatDomain(float(low), float(high), log=True, transfer=transfer)


def integer(low: int, high: int, *, step: int = 1, transfer: bool = True) -> IntDomain:
    """Whole numbers in [low, high], `step` apart, all alike likely."""
    return IntDomain(low, high, step=step, transfer=transfer)


def logint(low: int, high: int, *, transfer: bool = True) -> IntDomain:
    """Whole numbers in [low, high], 1 <= low, whose logarithms are all alike likely."""
    return IntDomain(low, high, log=True, transfer=transfer)


def choice(values: Sequence[Scalar], *, transfer: bool = True) -> CategoricalDomain:
    """One of `values`, all alike likely and in no order."""
    return CategoricalDomain(tuple(values), transfer=transfer)


def constant(value: Scalar) -> ConstantDomain:
    """The same value in every trial, instead of the task's default."""
    return ConstantDomain(value)


def fidelity(value: Scalar) -> ConstantDomain:
    """The same value in every search trial, to make it cheaper; the target is trained with the task's default.

    With `data_fraction=fidelity(0.25)` a task whose defaults have `"data_fraction": 1.0`, and whose `train_batches`
    draws from that share of its samples, is tuned on a quarter of the data.
    """
    return ConstantDomain(value, transfer=False)
