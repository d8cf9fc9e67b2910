"""New trials of a study: how many it may have now, and what the search suggests."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from hydro.coordinator.bell import Bell
from hydro.coordinator.budget_history import search_history
from hydro.coordinator.history import prior_known_trial, request_of
from hydro.coordinator.known_points import point_hyperparameters, waiting_points
from hydro.coordinator.names import StudyName
from hydro.coordinator.search.random_backend import needs_no_history
from hydro.coordinator.search.search_backend import KnownTrial, Outcome, SearchBackend, SearchRequest
from hydro.coordinator.search_space import ConstantDomain, SearchSpace
from hydro.coordinator.searched_history import searched_history
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.coordinator.storage.trial_values import NewTrial
from hydro.coordinator.study import Sampler, Study, StudyState
from hydro.coordinator.surrogate import Surrogate
from hydro.coordinator.trial import Hyperparameters, SearchedHistory, Trial, TrialKind, TrialState

GENERATIONS = 4
"""A study's trials without any measurement are at most 1 / GENERATIONS of all, so that the search can learn."""


class Asking:
    """Asks the search for trials; one ask of a study at a time."""

    def __init__(self, storage: Storage, search: SearchBackend, bell: Bell) -> None:
        self._storage = storage
        self._search = search
        self._bell = bell
        self._locks: defaultdict[StudyName, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def ask(self, study: StudyName) -> int:
        """Makes as many PENDING trials as the study may have now, and gives their number."""
        async with self._locks[study]:
            return len(await self._asked(study))

    async def _asked(self, name: StudyName) -> Sequence[Trial]:
        while True:
            ask = await self._storage.run(lambda tx: _next_ask(tx, name))
            if ask is None:
                return []
            suggestions = await self._search.ask(ask.request) if ask.request.count else []
            trials = await self._storage.run(partial(_stored, name=name, ask=ask, suggestions=suggestions))
            if trials is not None:
                self._bell.ring()
                return trials


@dataclass(frozen=True, slots=True)
class _Ask:
    """The next ones after so many trials of a study: known points by index, in their order, and then the search's."""

    points: Mapping[int, Hyperparameters]
    request: SearchRequest
    searched: SearchedHistory | None
    trials: int

    def history(self, place: int) -> SearchedHistory | None:
        """What the suggestion of a place in the answer has known that no one before it had."""
        return self.searched if place == 0 or self.searched is None else SearchedHistory(self.request.first_index)


async def _next_ask(tx: Transaction, name: StudyName) -> _Ask | None:
    study = await tx.studies.get(name)
    if study.state is not StudyState.SEARCHING:
        return None
    trials = await tx.trials.all(name, TrialKind.SEARCH)
    wanted = allowance(study, trials)
    if wanted <= 0:
        return None
    spec = study.spec
    space = searched_space(spec.search_space, await tx.surrogates.of_study(name))
    waiting = waiting_points(spec, (each.known_point for each in trials if each.known_point is not None))[:wanted]
    points = {
        index: point_hyperparameters(space, spec.known_points[index], spec.seed, number)
        for number, index in enumerate(waiting, study.next_trial)
    }
    history = [
        *map(prior_known_trial, await tx.studies.prior_trials(name) if spec.priors else ()),
        *search_history(spec, trials),
        *(KnownTrial(number, each, Outcome.OPEN) for number, each in enumerate(points.values(), study.next_trial)),
    ]
    first = study.next_trial + len(points)
    request = request_of(study, space, history, count=wanted - len(points), first_index=first)
    searched = None if needs_no_history(spec.sampler, space) else searched_history(spec, trials, first)
    return _Ask(points, request, searched, len(trials))


async def _stored(
    tx: Transaction, name: StudyName, ask: _Ask, suggestions: Sequence[Hyperparameters]
) -> Sequence[Trial] | None:
    study = await tx.studies.lock(name)
    if study.state is not StudyState.SEARCHING:
        return []
    if study.next_trial != ask.request.first_index - len(ask.points):
        # A target took the number meanwhile, or this very transaction was stored and its answer lost: look again.
        return None
    made = [
        *((each, index, None) for index, each in ask.points.items()),
        *((each, None, ask.history(place)) for place, each in enumerate(suggestions)),
    ]
    new = [
        NewTrial(hyperparameters, trial_seed(study.spec.seed, number), known_point=known_point, searched=searched)
        for number, (hyperparameters, known_point, searched) in enumerate(made, study.next_trial)
    ]
    if ask.request.sampler is Sampler.GRID and len(suggestions) < ask.request.count:
        # No point is left: some parameters do not transfer from the surrogate, so the grid is smaller than the space.
        await tx.studies.limit_trials(name, ask.trials + len(new))
    return await tx.trials.insert(name, new)


def allowance(study: Study, trials: Sequence[Trial]) -> int:
    """How many more trials a study may have now: within its parallelism, and not ahead of what can be learned."""
    # A population begins together.
    generations = GENERATIONS if study.spec.population is None else 1
    generation = math.ceil(study.spec.max_trials / generations)
    unmeasured = sum(not trial.measurements and not trial.state.has_ended for trial in trials)
    return max(0, min(room(study, trials), generation - unmeasured))


def room(study: Study, trials: Sequence[Trial]) -> int:
    """How many more trials fit a study's limits on all trials and on open ones."""
    active = sum(trial.state in (TrialState.PENDING, TrialState.RUNNING) for trial in trials)
    return max(0, min(study.spec.max_trials - len(trials), study.spec.parallelism - active))


def searched_space(space: SearchSpace, surrogate: Surrogate | None) -> SearchSpace:
    """The space without what cannot be learned on the surrogate: the task's defaults hold there.

    A constant that does not transfer stays: it makes search trials cheaper than the target's training.
    """
    if surrogate is None or surrogate.width >= 1:
        return space
    return space.without(
        each.name for each in space.parameters if each.not_transferable and not isinstance(each.domain, ConstantDomain)
    )


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of a trial's weights and random numbers: its own, and the same in every replay."""
    digest = hashlib.sha256(f"{study_seed}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
