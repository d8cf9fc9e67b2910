"""The port of search: from a space and what is known of its trials to the next trials' hyperparameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from hydro.coordinator.search_space import SearchSpace
from hydro.coordinator.study import Goal, Sampler
from hydro.coordinator.trial import Hyperparameters, Value

GROUP = "hydro.search_backends"
"""The entry points by which other distributions bring search backends."""


class Outcome(Enum):
    """How far a trial of the history has come."""

    OPEN = "OPEN"
    """Pending or running: its value is not known yet, so its neighbourhood need not be tried again now."""
    SUCCEEDED = "SUCCEEDED"
    """Trained to the end."""
    PRUNED = "PRUNED"
    """Pruned, or paused at a rung: `value` is its last one, at `steps`."""
    FAILED = "FAILED"
    """No value will come."""


@dataclass(frozen=True, slots=True)
class KnownTrial:
    """One trial of the history.

    Attributes:
        number: Its number in the study; below 0 if it is another study's.
        hyperparameters: What it has tried.
        outcome: How far it has come.
        value: The first objective after `steps` steps.
        steps: As above.
        further_values: The other objectives, of one that was trained to the end.
        violations: How far each constrained metric is beyond its bound, as far as is known; 0 or less: not at all.
    """

    number: int
    hyperparameters: Hyperparameters
    outcome: Outcome
    value: float | None = None
    steps: int = 0
    further_values: tuple[float, ...] = ()
    violations: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """Everything an ask depends on.

    Attributes:
        sampler: How to suggest.
        space: A valid search space.
        goal: Which way is better.
        history: The trials so far, in any order.
        count: How many suggestions to give, >= 1.
        seed: The study's seed.
        first_index: The number that the first suggestion will have as a trial; the next ones follow.
        study: Which study it is, for ever. A backend may keep by it what it was told before; "" keeps nothing.
        further_goals: Which way is better for each further objective.
        max_trials: How many trials the study has in the end; 0: not known.
        external_sampler: The entry point of the backend, where the sampler is EXTERNAL.
    """

    sampler: Sampler
    space: SearchSpace
    goal: Goal
    history: tuple[KnownTrial, ...]
    count: int
    seed: int
    first_index: int
    study: str = ""
    further_goals: tuple[Goal, ...] = ()
    max_trials: int = 0
    external_sampler: str = ""


class SearchBackend(Protocol):
    """Suggests trials. It owns no state: the request has everything.

    Laws, checked by the conformance suite for every backend:
        An ask is a function of its request: the same one gives the same answer, also in another process.
        The order of the history does not matter.
        Suggestion i of a request is seeded by (seed, first_index + i).
        A suggestion has a value for each active parameter, constants among them, each in its domain, and nothing else.
        Suggestions of one request see those before them as open trials.
        What a trial of the history has had is not suggested again, while a finite space has points that none has had.
        A history with further objectives and violations changes none of this, for a backend that ignores them too.
        There are `request.count` suggestions; fewer only from GRID, when the study's own trials have had every point.
    """

    async def ask(self, request: SearchRequest) -> list[dict[str, Value]]:
        """Gives `request.count` suggestions.

        Raises:
            DeadlineExceeded: The search took too long.
            Unavailable: The search cannot be reached; asking again is safe.
            Internal: The search failed on this request.
        """
        ...
