"""What searching ahead costs: the regret of TPE on test functions, when each suggestion has missed some results.

Eight trials run at a time and end in the order of their starts. Fresh: a suggestion knows every result. Ahead: it has
missed as many results as a line of the coordinator's length lets it miss at the most. Seeds are the same, the objective
has no noise.
"""

from __future__ import annotations

import math
from statistics import mean, stdev
from typing import Any

from benchmarks.functions import FUNCTIONS
from benchmarks.study_service.tpe import PARALLELISM
from hydro.coordinator.search.ask_seed import ask_seed
from hydro.coordinator.search.optuna_backend import open_search
from hydro.coordinator.search.search_backend import KnownTrial, Outcome, SearchRequest
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.study import Goal, Sampler

Row = dict[str, Any]
STALENESS = {"fresh": 0, "ahead": PARALLELISM, "bound": 2 * PARALLELISM}
"""Results that a suggestion has missed."""


def measure_regret(name: str, trials: int, seeds: int) -> Row:
    """The best value found less the least there is, at each staleness: mean and standard error over seeds."""
    row: Row = {"what": "regret", "function": name, "trials": trials, "parallelism": PARALLELISM, "seeds": seeds}
    for label, missed in STALENESS.items():
        regrets = [_regret(name, trials, missed, seed) for seed in range(seeds)]
        error = stdev(regrets) / math.sqrt(seeds) if seeds > 1 else None
        row[label] = {"missed_results": missed, "mean": mean(regrets), "standard_error": error}
    return row


def _regret(name: str, trials: int, missed: int, seed: int) -> float:
    function, bounds, least = FUNCTIONS[name]
    space = SearchSpace(tuple(Parameter(f"x{i}", FloatDomain(low, high)) for i, (low, high) in enumerate(bounds)))
    known = open_search(SearchRequest(Sampler.TPE, space, Goal.MINIMIZE, (), 1, 0, 0))
    running: list[KnownTrial] = []
    results: list[KnownTrial] = []
    learned = 0
    for number in range(trials):
        seen = max(0, len(results) - missed)
        known.learn(results[learned:seen])
        learned = seen
        request = SearchRequest(Sampler.TPE, space, Goal.MINIMIZE, (), 1, ask_seed(seed, 0), number)
        (point,) = known.suggest(request)
        known.learn([KnownTrial(number, point, Outcome.OPEN)])
        if len(running) == PARALLELISM - 1:
            # The oldest of those that run ends.
            results.append(running.pop(0))
        value = function([float(point[each.name]) for each in space.parameters])
        running.append(KnownTrial(number, point, Outcome.SUCCEEDED, value, 1))
    return min(float(each.value or 0.0) for each in [*results, *running]) - least
