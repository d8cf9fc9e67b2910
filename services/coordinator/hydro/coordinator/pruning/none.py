"""No pruning."""

from __future__ import annotations

from collections.abc import Sequence

from hydro.coordinator.pruning.pruner import Report
from hydro.coordinator.trial import Verdict


class NonePruner:
    """Every trial is trained to the end."""

    def __init__(self, max_steps: int) -> None:
        self._max_steps = max_steps

    def decide(self, reports: Sequence[Report]) -> list[Verdict]:
        """STOP at the last step, CONTINUE before."""
        return [Verdict.STOP if 0 < self._max_steps <= report.step else Verdict.CONTINUE for report in reports]

    def promotable(self) -> list[int]:
        """None: nothing pauses."""
        return []

    def promote(self, trial: int) -> None:
        """Does nothing: nothing pauses."""

    def end(self, trial: int, succeeded: bool) -> None:
        """Does nothing: no trial depends on another."""

    def last_resort(self) -> int | None:
        """None: nothing pauses."""
        return None
