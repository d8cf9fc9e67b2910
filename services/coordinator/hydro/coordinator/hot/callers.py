"""When the callers of driven trials were last heard of, by this coordinator's clock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hydro.coordinator.names import StudyName, TrialName
from hydro.kit.clock import Clock
from hydro.kit.errors import FailedPrecondition

LONGEST_GAP_SECONDS = 3.0
"""Between two looks at who is silent. In a longer one it or its database stood still: nobody could be heard."""


@dataclass(frozen=True, slots=True)
class Run:
    """A trial of a study, by its number, as one caller was given it; `lost_runs` grows with each loss of a caller."""

    number: int
    lost_runs: int


class Callers:
    """Whoever reports or renews a run is heard. A run that is followed first counts as heard then."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: dict[StudyName, dict[Run, float]] = {}
        self._looked = clock.monotonic()

    def hear(self, study: StudyName, run: Run) -> None:
        """Notes that the caller lives. Of runs that are not followed nothing is kept."""
        heard = self._heard.get(study, {})
        if run in heard:
            heard[run] = self._clock.monotonic()

    def follow(self, running: Mapping[StudyName, Iterable[Run]]) -> None:
        """Follows these runs from now on, and no others."""
        now = self._clock.monotonic()
        gap = now - self._looked
        lost = gap if gap > LONGEST_GAP_SECONDS else 0.0
        self._looked = now
        before, self._heard = self._heard, {}
        for study, runs in running.items():
            heard = before.get(study, {})
            self._heard[study] = {run: min(now, heard.get(run, now) + lost) for run in runs}

    def silent(self, study: StudyName, seconds: float) -> list[Run]:
        """The study's runs of which nothing was heard for so long."""
        end = self._clock.monotonic() - seconds
        return [run for run, time in self._heard.get(study, {}).items() if time <= end]


def caller_lost(name: TrialName) -> FailedPrecondition:
    """The error of a caller that was given up: its trial is another's, or has failed."""
    return FailedPrecondition(
        f"{name} was given up, for nothing was heard of its caller within the study's trial_timeout_seconds: ask for "
        "another trial",
        reason="LEASE_LOST",
    )
