"""A client that looks on."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from end_to_end.patience import PATIENCE_SECONDS


class Watcher:
    """A client that follows a study all the time, whatever becomes of the services."""

    def __init__(self, study: Any) -> None:
        self.measurements: dict[tuple[int, int], Mapping[str, float]] = {}
        self.ends: dict[int, set[tuple[str, float | None]]] = {}
        self._study = study
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Waits for the study's end."""
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), f"the study does not end: {self._study.snapshot()}"
        if self._error is not None:
            raise self._error

    def _follow(self) -> None:
        try:
            for change in self._study.changes():
                for trial in change.trials:
                    self._note(trial)
        except BaseException as error:  # noqa: BLE001 - raised again by `wait`
            self._error = error

    def _note(self, trial: Any) -> None:
        number = trial.name.number
        for each in trial.measurements:
            self.measurements[number, each.step] = dict(each.metrics)
        if trial.state.has_ended:
            self.ends.setdefault(number, set()).add((trial.state.value, trial.value))
