"""New trials of a study: how many it may have now, and what the search suggests."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from hydro.coordinator.bell import Bell
from hydro.coordinator.names import StudyName
from hydro.coordinator.search.search_backend import KnownTrial, Outcome, SearchBackend, SearchRequest
from hydro.coordinator.search_space import ConstantDomain, SearchSpace
from hydro.coordinator.storage.storage import NewTrial, Storage, Transaction
from hydro.coordinator.study import Study, StudyState
from hydro.coordinator.surrogate import Surrogate
from hydro.coordinator.trial import Hyperparameters, Trial, TrialKind, TrialState

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
            request = await self._storage.run(lambda tx: _request(tx, name))
            if request is None:
                return []
            suggestions = await self._search.ask(request)
            trials = await self._storage.run(partial(_stored, name=name, request=request, suggestions=suggestions))
            if trials is not None:
                self._bell.ring()
                return trials


async def _request(tx: Transaction, name: StudyName) -> SearchRequest | None:
    study = await tx.studies.get(name)
    if study.state is not StudyState.SEARCHING:
        return None
    trials = await tx.trials.all(name, TrialKind.SEARCH)
    wanted = allowance(study, trials)
    if wanted <= 0:
        return None
    return SearchRequest(
        sampler=study.spec.sampler,
        space=searched_space(study.spec.search_space, await tx.surrogates.of_study(name)),
        goal=study.spec.objective.goal,
        history=tuple(map(known_trial, trials)),
        count=wanted,
        seed=study.spec.seed,
        first_index=study.next_trial,
        study=study.uid,
    )


async def _stored(
    tx: Transaction, name: StudyName, request: SearchRequest, suggestions: Sequence[Hyperparameters]
) -> Sequence[Trial] | None:
    study = await tx.studies.lock(name)
    if study.state is not StudyState.SEARCHING:
        return []
    if study.next_trial != request.first_index:
        # A target took the number meanwhile, or this very transaction was stored and its answer lost: look again.
        return None
    new = [
        NewTrial(hyperparameters, trial_seed(study.spec.seed, request.first_index + index))
        for index, hyperparameters in enumerate(suggestions)
    ]
    return await tx.trials.insert(name, new)


def allowance(study: Study, trials: Sequence[Trial]) -> int:
    """How many more trials a study may have now: within its parallelism, and not ahead of what can be learned."""
    generation = math.ceil(study.spec.max_trials / GENERATIONS)
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


def known_trial(trial: Trial) -> KnownTrial:
    """The trial as the search sees it."""
    outcome = known_outcome(trial.state, trial.value)
    return KnownTrial(trial.name.number, trial.hyperparameters, outcome, _finite(trial.value), trial.steps)


def known_outcome(state: TrialState, value: float | None) -> Outcome:
    """How far a trial in the state, with the value, has come."""
    match state:
        case TrialState.PENDING | TrialState.RUNNING:
            return Outcome.OPEN
        case TrialState.SUCCEEDED if _finite(value) is not None:
            return Outcome.SUCCEEDED
        case TrialState.PAUSED | TrialState.PRUNED if _finite(value) is not None:
            return Outcome.PRUNED
        case _:
            return Outcome.FAILED


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of a trial's weights and random numbers: its own, and the same in every replay."""
    digest = hashlib.sha256(f"{study_seed}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
