"""New trials of a study: how many it may have now, and what the search suggests."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from hydro.coordinator.bell import Bell
from hydro.coordinator.names import StudyName, TrialName
from hydro.coordinator.search.search_backend import KnownTrial, Outcome, SearchBackend, SearchRequest
from hydro.coordinator.search_space import SearchSpace
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
            return len(await self._asked(study, None, ""))

    async def suggest(self, study: StudyName, count: int, request_id: str) -> Sequence[Trial]:
        """Makes up to `count` trials that their caller drives, and starts them.

        Sent again with the same request_id, gives the same trials.
        """
        async with self._locks[study]:
            return await self._asked(study, count, request_id)

    async def _asked(self, name: StudyName, count: int | None, request_id: str) -> Sequence[Trial]:
        while True:
            answer = await self._storage.run(lambda tx: _answered(tx, request_id))
            if answer is not None:
                return answer
            request = await self._storage.run(lambda tx: _request(tx, name, count))
            if request is None:
                return []
            suggestions = await self._search.ask(request)
            store = partial(
                _stored, name=name, request=request, suggestions=suggestions, count=count, request_id=request_id
            )
            trials = await self._storage.run(store)
            if trials is not None:
                self._bell.ring()
                return trials


_METHOD = "SuggestTrials"


async def _answered(tx: Transaction, request_id: str) -> Sequence[Trial] | None:
    answer = await tx.requests.answer(_METHOD, request_id)
    return None if answer is None else [await tx.trials.get(TrialName.parse(name)) for name in answer]


async def _request(tx: Transaction, name: StudyName, count: int | None) -> SearchRequest | None:
    study = await tx.studies.get(name)
    if study.state is not StudyState.SEARCHING:
        return None
    trials = await tx.trials.all(name, TrialKind.SEARCH)
    wanted = allowance(study, trials) if count is None else min(count, room(study, trials))
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
    )


async def _stored(
    tx: Transaction,
    name: StudyName,
    request: SearchRequest,
    suggestions: Sequence[Hyperparameters],
    count: int | None,
    request_id: str,
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
    trials = await tx.trials.insert(name, new)
    if count is not None:
        await tx.trials.start_alone(name, [trial.name.number for trial in trials])
        await tx.requests.remember(_METHOD, request_id, [str(trial.name) for trial in trials])
        trials = [await tx.trials.get(trial.name) for trial in trials]
    return trials


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
    """The space without what cannot be learned on the surrogate: the task's defaults hold there."""
    if surrogate is None or surrogate.width >= 1:
        return space
    return space.without(parameter.name for parameter in space.parameters if parameter.not_transferable)


def known_trial(trial: Trial) -> KnownTrial:
    """The trial as the search sees it."""
    value = trial.value if trial.value is not None and math.isfinite(trial.value) else None
    match trial.state:
        case TrialState.SUCCEEDED:
            outcome = Outcome.SUCCEEDED
        case TrialState.PAUSED | TrialState.PRUNED:
            outcome = Outcome.PRUNED
        case TrialState.PENDING | TrialState.RUNNING:
            outcome = Outcome.OPEN
        case _:
            outcome = Outcome.FAILED
    if value is None and outcome in (Outcome.SUCCEEDED, Outcome.PRUNED):
        outcome = Outcome.FAILED
    return KnownTrial(trial.name.number, trial.hyperparameters, outcome, value, trial.steps)


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of a trial's weights and random numbers: its own, and the same in every replay."""
    digest = hashlib.sha256(f"{study_seed}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
