"""The points that a study's trials have had."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from hydro.coordinator.search.search_backend import KnownTrial
from hydro.coordinator.search_space import identity
from hydro.coordinator.trial import Value

Key = frozenset[tuple[str, tuple[bool, Value]]]


class Visited:
    """Points by what makes them equal. A trial that is learned again replaces what was known of it."""

    def __init__(self) -> None:
        self._keys: dict[int, Key] = {}
        self._counts: Counter[Key] = Counter()

    def learn(self, trials: Iterable[KnownTrial]) -> None:
        """Notes the points of trials; those of failed ones too, for trying them again would fail again."""
        for known in trials:
            self.forget(known.number)
            self._keys[known.number] = key = _key(known.hyperparameters)
            self._counts[key] += 1

    def forget(self, number: int) -> None:
        """Forgets a trial."""
        key = self._keys.pop(number, None)
        if key is not None:
            self._counts[key] -= 1
            if not self._counts[key]:
                del self._counts[key]

    def __contains__(self, hyperparameters: Mapping[str, Value]) -> bool:
        """Whether a trial has had the point."""
        return _key(hyperparameters) in self._counts

    def __len__(self) -> int:
        """How many points there are."""
        return len(self._counts)


def _key(hyperparameters: Mapping[str, Value]) -> Key:
    return frozenset((name, identity(value)) for name, value in hyperparameters.items())
