"""What ends single lanes: the task's code raised for them, or their loss is no number."""

from __future__ import annotations

from traceback import format_exception

from hydro.tuner.training.lane import CurrentTrial, LaneFailure
from hydro.tuner.training.out_of_memory import is_out_of_memory


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
        taken = tuple(self._failures)
        self._failures.clear()
        return taken

    def attributed(
        self, trial: str, step: int, *, but: tuple[type[Exception], ...] = (), is_alone: bool = True
    ) -> Attribution:
        """Whatever the task raises inside ends this trial alone.

        Errors of the kinds `but` concern all lanes, and so does running out of memory unless this one `is_alone`.
        """
        return Attribution(self._current, self._failures, trial, step, but, is_alone)


class Attribution:
    """One piece of a trial's work; a class, because separate models enter three at each step."""

    __slots__ = ("_but", "_current", "_failures", "_is_alone", "_step", "_trial")

    def __init__(
        self,
        current: CurrentTrial,
        failures: list[LaneFailure],
        trial: str,
        step: int,
        but: tuple[type[Exception], ...],
        is_alone: bool,
    ) -> None:
        self._current = current
        self._failures = failures
        self._trial = trial
        self._step = step
        self._but = but
        self._is_alone = is_alone

    def __enter__(self) -> None:
        self._current.trial = self._trial

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: object) -> bool:
        self._current.trial = None
        if not isinstance(error, Exception) or isinstance(error, self._but):
            return False
        if not self._is_alone and is_out_of_memory(error):
            return False
        reason = f"{type(error).__name__} after {self._step} steps: {error}"
        self._failures.append(LaneFailure(self._trial, self._step, reason, "".join(format_exception(error))))
        return True
