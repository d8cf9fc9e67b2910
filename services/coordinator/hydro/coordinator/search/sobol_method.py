"""Quasi-random search: a scrambled Sobol sequence, one dimension for each parameter."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.stats import qmc

from hydro.coordinator.search.ask_seed import ask_seed
from hydro.coordinator.search.search_backend import KnownTrial
from hydro.coordinator.search.unit_cube import fill, value_at
from hydro.coordinator.search_space import SearchSpace
from hydro.coordinator.trial import Value


class SobolMethod:
    """The trial of a number has the sequence's point of that number; nothing is learned.

    Every parameter has a dimension, which trials that it is not active in leave out: the active ones stay spread
    evenly. A further attempt at a number takes a point of another scrambling.

    Source: Joe and Kuo, "Constructing Sobol sequences with better two-dimensional projections" (2008), scrambled as
    Matousek (1998), by scipy.
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._places = {each.name: place for place, each in enumerate(space.parameters)}

    def learn(self, trials: Iterable[KnownTrial]) -> None:
        """Nothing: the sequence goes on whatever came of it."""

    def forget(self, number: int) -> None:
        """Nothing."""

    def suggest(self, number: int, seed: int) -> dict[str, Value]:
        """Hyperparameters for the trial of a number."""
        scrambling = self._seed if seed == ask_seed(self._seed, number) else seed
        sequence = qmc.Sobol(len(self._places), scramble=True, rng=np.random.default_rng(scrambling))
        if number:  # scipy cannot go forward by nothing
            sequence.fast_forward(number)
        (point,) = sequence.random(1)
        return fill(self._space, lambda name, domain: value_at(domain, float(point[self._places[name]])))
