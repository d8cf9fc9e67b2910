"""Which hyperparameters a piece of user code reads: trials that agree on those get the same result from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from hydro.tuner.task import Hyperparameters

ReadValues: TypeAlias = tuple[tuple[str, str, Any], ...]
"""Name, type and value of each hyperparameter read, sorted: equal for trials that some code cannot tell apart."""


class HyperparameterReads:
    """The names that one piece of code has read, over all trials it has seen.

    Deterministic code that has read nothing but values on which two trials agree cannot have treated them differently.
    So what it made for one serves the other, and most hyperparameters (the optimizer's) never reach model or data.
    """

    def __init__(self) -> None:
        self._names: set[str] = set()

    @property
    def count(self) -> int:
        """How many names have been read so far."""
        return len(self._names)

    def watched(self, hyperparameters: Hyperparameters) -> Hyperparameters:
        """Gives the same values, and notes what is read of them."""
        return _Watched(hyperparameters, self._names)

    def values(self, hyperparameters: Hyperparameters) -> ReadValues:
        """What the code would see of these hyperparameters."""
        chosen = sorted(name for name in self._names if name in hyperparameters)
        return tuple((name, type(hyperparameters[name]).__name__, hyperparameters[name]) for name in chosen)


class _Watched(Mapping[str, Any]):
    def __init__(self, values: Hyperparameters, names: set[str]) -> None:
        self._values = values
        self._names = names

    def __getitem__(self, name: str) -> Any:
        self._names.add(name)
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        self._names.update(self._values)
        return iter(self._values)

    def __len__(self) -> int:
        self._names.update(self._values)
        return len(self._values)

    def __repr__(self) -> str:
        self._names.update(self._values)
        return repr(dict(self._values))
