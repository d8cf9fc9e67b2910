"""How a caller ends a trial."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hydro.coordinator.names import TrialName
from hydro.coordinator.trial import TrialState
from hydro.kit.errors import FailedPrecondition


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended: with its final objective, with the reason of its failure, or pruned (neither)."""

    value: float | None = None
    failure: str = ""

    @property
    def state(self) -> TrialState:
        """The state that it leads to. An objective that is not finite is a failure."""
        if self.value is not None and math.isfinite(self.value):
            return TrialState.SUCCEEDED
        return TrialState.FAILED if self.value is not None or self.failure else TrialState.PRUNED

    @property
    def reason(self) -> str:
        """Why the trial failed, if it did."""
        if self.state is not TrialState.FAILED:
            return ""
        return self.failure or f"the objective is {self.value}"

    def check(self, name: TrialName, state: TrialState, value: float | None) -> None:
        """Raises FailedPrecondition (WRONG_STATE) if the trial, which has ended, did not end so."""
        if state is not self.state or (state is TrialState.SUCCEEDED and value != self.value):
            raise FailedPrecondition(f"{name} has ended: it is {state.name}, value {value}")
