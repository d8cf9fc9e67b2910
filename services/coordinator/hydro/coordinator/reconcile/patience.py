"""How long a trial waits for a place in a running bundle before it is planned into one of its own."""

from __future__ import annotations

from hydro.coordinator.names import TrialName
from hydro.coordinator.trial import Trial
from hydro.kit.clock import Clock


class Patience:
    """Remembers since when each trial waits. Lost at a restart: trials then wait once more."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._since: dict[TrialName, tuple[int, float]] = {}

    def is_over(self, trial: Trial) -> bool:
        """Whether the trial has waited long enough; the first question starts its time."""
        now = self._clock.monotonic()
        revision, since = self._since.get(trial.name, (trial.revision, now))
        if revision != trial.revision:
            since = now
        self._since[trial.name] = (trial.revision, since)
        return now - since >= self._seconds

    def forget(self) -> None:
        """Drops what is too old to matter."""
        limit = self._clock.monotonic() - 10 * self._seconds - 60
        self._since = {name: (revision, since) for name, (revision, since) in self._since.items() if since > limit}
