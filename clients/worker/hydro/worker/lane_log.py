"""What user code prints, by trial."""

from __future__ import annotations

import io
from collections.abc import Iterable

from hydro.tuner.training.lane import CurrentTrial

_LIMIT_CHARACTERS = 64 * 1024


class LaneLogs(io.TextIOBase):
    """Stands in for standard output while a bundle trains.

    What is printed while one lane's code runs is that trial's; what is printed for all of them (a traced loss, shared
    data) is everyone's.
    """

    def __init__(self, current: CurrentTrial) -> None:
        self._current = current
        self._texts: dict[str, str] = {}

    def add_trials(self, trials: Iterable[str]) -> None:
        """Starts logs."""
        for trial in trials:
            self._texts.setdefault(trial, "")

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Adds printed text to the log of the trial that runs."""
        current = self._current.trial
        for trial in self._texts if current is None else (current,):
            self.add(trial, text)
        return len(text)

    def add(self, trial: str, text: str) -> None:
        """Adds to one trial's log; of very much text only the end is kept."""
        self._texts[trial] = (self._texts.get(trial, "") + text)[-_LIMIT_CHARACTERS:]

    def take(self, trial: str) -> str:
        """Gives what has come since the last time."""
        text = self._texts.get(trial, "")
        if text:
            self._texts[trial] = ""
        return text

    def drop(self, trial: str) -> None:
        """Ends a log."""
        self._texts.pop(trial, None)
