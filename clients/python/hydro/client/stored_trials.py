"""What a study's user finds of its trials, and finds it by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hydro.client.calls import CoordinatorCalls
from hydro.client.names import StudyName
from hydro.client.objectives import Goal
from hydro.client.snapshots import StudySettings, TrialKind, TrialOrder, TrialState
from hydro.client.target import Target
from hydro.client.trials import Trial


class StoredTrials:
    """The lists of a study's trials."""

    def __init__(self, name: StudyName, settings: StudySettings, coordinator: CoordinatorCalls) -> None:
        self._name = name
        self._settings = settings
        self._coordinator = coordinator

    @property
    def trials(self) -> list[Trial]:
        """All search trials so far, by number."""
        found = self._coordinator.list_trials(self._name, TrialKind.SEARCH)
        return [Trial(each, self._settings.objectives, self._coordinator) for each in found]

    @property
    def targets(self) -> list[Target]:
        """All trainings of the target so far."""
        found = self._coordinator.list_trials(self._name, TrialKind.TARGET)
        return [Target(Trial(each, self._settings.objectives, self._coordinator)) for each in found]

    def get_trial(self, number: int) -> Trial:
        """One trial, of either kind.

        Raises:
            NotFound: there is none of that number.
        """
        return Trial(
            self._coordinator.get_trial(self._name.trial(number)), self._settings.objectives, self._coordinator
        )

    def list_trials(
        self,
        *,
        states: Sequence[TrialState] = (),
        tags: Mapping[str, str] | None = None,
        best_first: bool = False,
        limit: int | None = None,
    ) -> list[Trial]:
        """Search trials, by number or by value.

        Args:
            states: Only those in one of these. Empty: in any.
            tags: Only those that have all of these.
            best_first: By value, those without one last.
            limit: Not more than so many.
        """
        best = TrialOrder.HIGHEST if self._settings.objective.goal is Goal.MAXIMIZE else TrialOrder.LOWEST
        order = best if best_first else TrialOrder.NUMBER
        found = self._coordinator.list_trials(self._name, TrialKind.SEARCH, states, tags, order, limit)
        return [Trial(each, self._settings.objectives, self._coordinator) for each in found]

    def tag(self, tags: Mapping[str, str] | None = None, *, remove: Sequence[str] = ()) -> None:
        """Adds tags and removes others.

        Raises:
            InvalidArgument: names each that cannot be a tag.
        """
        self._coordinator.tag_study(self._name, tags or {}, remove)
