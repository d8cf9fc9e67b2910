"""What ends single lanes: the task's code raised for them, or their loss is no number."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from hydro.tuner.training.lane import CurrentTrial, LaneFailure


class LaneFailures:
    """Gathers the failures of a bundle's lanes, and says meanwhile whose code runs."""

    def __init__(self, current: CurrentTrial) -> None:
        self._current = current
        self._failures: list[LaneFailure] = []

    def __len__(self) -> int:
        """How many there are that were not taken."""
        return len(self._failures)

    def add_diverged(self, trial: str, step: int, loss: float) -> None:
        """Notes a lane whose loss is no longer a number."""
        self._failures.append(LaneFailure(trial, step, f"the training loss is {loss} after {step} steps"))

    def trials_from(self, index: int) -> list[str]:
        """Gives the trials of the failures from one on."""
        return [failure.trial for failure in self._failures[index:]]

    def take(self) -> tuple[LaneFailure, ...]:
        """Gives each failure once."""
        taken, self._failures = tuple(self._failures), []
        return taken

    @contextmanager
    def attributed(self, trial: str, step: int, *, but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Whatever the task raises inside ends this trial alone; errors of the kinds `but` concern all lanes."""
        self._current.trial = trial
        try:
            yield
        except but:
            raise
        except Exception as error:  # noqa: BLE001 - the user's code may raise anything
            reason = f"{type(error).__name__} after {step} steps: {error}"
            self._failures.append(LaneFailure(trial, step, reason, traceback.format_exc()))
        finally:
            self._current.trial = None
