"""Suggestions searched once more, from the history that is noted with their trials."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hydro.coordinator.asking import searched_space
from hydro.coordinator.budget_history import search_history
from hydro.coordinator.history import prior_known_trial, request_of
from hydro.coordinator.names import TrialName
from hydro.coordinator.search.random_backend import needs_no_history
from hydro.coordinator.search.search_backend import SearchBackend, SearchRequest
from hydro.coordinator.search_space import SearchSpace
from hydro.coordinator.searched_history import Seen
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.coordinator.storage.trial_values import PriorTrial
from hydro.coordinator.study import Study
from hydro.coordinator.trial import Hyperparameters, Trial, TrialKind
from hydro.kit.errors import FailedPrecondition


class Replays:
    """Asks the search again for what trials were suggested."""

    def __init__(self, storage: Storage, search: SearchBackend) -> None:
        self._storage = storage
        self._search = search

    async def replay(self, name: TrialName) -> Hyperparameters:
        """Gives what the search suggests for the trial from the history that its suggestion had known.

        Raises:
            FailedPrecondition: see `replay_request`.
        """
        request = await self._storage.run(lambda tx: _request(tx, name))
        # It keeps nothing: what the search process holds of the study is of its newest trials.
        return (await self._search.ask(replace(request, study="")))[-1]


async def _request(tx: Transaction, name: TrialName) -> SearchRequest:
    study, _ = await tx.studies.get(name.study), await tx.trials.get(name)
    space = searched_space(study.spec.search_space, await tx.surrogates.of_study(name.study))
    priors = await tx.studies.prior_trials(name.study)
    return replay_request(study, space, priors, await tx.trials.all(name.study, TrialKind.SEARCH), name.number)


def replay_request(
    study: Study, space: SearchSpace, priors: Iterable[PriorTrial], trials: Sequence[Trial], number: int
) -> SearchRequest:
    """The request whose last suggestion the trial of the number had.

    `space` is the searched one, `trials` are the study's search trials in the order of their numbers.

    Raises:
        FailedPrecondition: WRONG_STATE, nothing suggested it, or a release that did not note what suggestions knew.
    """
    spec, by_number = study.spec, {each.name.number: each for each in trials}
    if number not in by_number or by_number[number].known_point is not None:
        raise FailedPrecondition(f"{study.name.trial(number)} was not suggested: it is a known point, or a target")
    searched = by_number[number].searched
    if searched is None and needs_no_history(spec.sampler, space):
        return request_of(study, space, (), count=1, first_index=number)
    if searched is None:
        raise FailedPrecondition(
            f"{study.name.trial(number)} is of a release that kept no history with its suggestions"
        )
    first = searched.searched_from
    seen = Seen(each for each in trials if each.name.number <= number)
    before = [seen.of(each, spec.objective.metric) for each in trials if each.name.number < first]
    history = (*map(prior_known_trial, priors), *search_history(spec, before))
    return request_of(study, space, history, count=number - first + 1, first_index=first)
