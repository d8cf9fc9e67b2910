"""Our domains as Optuna's distributions, and values there and back."""

from __future__ import annotations

from typing import Protocol, assert_never

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from hydro.coordinator.search.unit_cube import count_of, value_number
from hydro.coordinator.search_space import (
    CategoricalDomain,
    ConstantDomain,
    FloatDomain,
    IntDomain,
    Parameter,
    identity,
)
from hydro.coordinator.trial import Value

OptunaValue = float | int


class Codec(Protocol):
    """One searched parameter in Optuna's terms."""

    @property
    def distribution(self) -> BaseDistribution:
        """What Optuna searches."""
        ...

    def encode(self, value: Value) -> OptunaValue:
        """Our value, which the domain contains, as Optuna's."""
        ...

    def draw(self, trial: optuna.Trial, name: str) -> Value:
        """Has the trial suggest a value, and gives ours."""
        ...


def codec_of(parameter: Parameter) -> Codec | None:
    """The parameter's codec. None: it is not searched."""
    match parameter.domain:
        case FloatDomain():
            return FloatCodec(parameter.domain)
        case IntDomain():
            return IntCodec(parameter.domain)
        case CategoricalDomain(values):
            return CategoricalCodec(values)
        case ConstantDomain():
            return None
        case _:
            assert_never(parameter.domain)


class FloatCodec:
    """A float is a float. A range that is no multiple of its step ends at the last one inside."""

    def __init__(self, domain: FloatDomain) -> None:
        self._domain = domain
        high = domain.max
        if domain.step:
            high = float(value_number(domain, (count_of(domain) or 1) - 1))
        self.distribution = FloatDistribution(domain.min, high, log=domain.log, step=domain.step or None)

    def encode(self, value: Value) -> OptunaValue:
        """The same value."""
        return float(value)

    def draw(self, trial: optuna.Trial, name: str) -> Value:
        """The same value, kept in its range, which a logarithm's rounding may leave."""
        low, high, step = self.distribution.low, self.distribution.high, self.distribution.step
        value = trial.suggest_float(name, low, high, step=step, log=self.distribution.log)
        if step is not None:
            # In decimals: Optuna's tenth of a tenth is 0.30000000000000004 for 0.3.
            return value_number(self._domain, round((value - low) / step))
        return min(max(value, low), high)


class IntCodec:
    """An int is an int."""

    def __init__(self, domain: IntDomain) -> None:
        step = domain.step or 1
        high = domain.min + (domain.max - domain.min) // step * step
        self.distribution = IntDistribution(domain.min, high, log=domain.log, step=step)

    def encode(self, value: Value) -> OptunaValue:
        """The same value."""
        return int(value)

    def draw(self, trial: optuna.Trial, name: str) -> Value:
        """The same value."""
        low, high, step = self.distribution.low, self.distribution.high, self.distribution.step
        return trial.suggest_int(name, low, high, step=step, log=self.distribution.log)


class CategoricalCodec:
    """A choice is its index: among Optuna's choices 1 and True would be one."""

    def __init__(self, values: tuple[Value, ...]) -> None:
        self._values = values
        self._indices = {identity(value): index for index, value in enumerate(values)}
        self.distribution = CategoricalDistribution(range(len(values)))

    def encode(self, value: Value) -> OptunaValue:
        """The value's index."""
        return self._indices[identity(value)]

    def draw(self, trial: optuna.Trial, name: str) -> Value:
        """The value at the index."""
        return self._values[trial.suggest_categorical(name, range(len(self._values)))]
