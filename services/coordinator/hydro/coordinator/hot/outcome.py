"""How a caller ends a trial."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from hydro.coordinator.names import TrialName
from hydro.coordinator.trial import Result, TrialState
from hydro.kit.errors import FailedPrecondition


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended: with its final objective, with the reason of its failure, or pruned (neither).

    `metrics` are others that were measured at its end.
    """

    value: float | None = None
    failure: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def state(self) -> TrialState:
        """The state that it leads to. An objective or another metric that is not finite is a failure."""
        if self.value is not None and math.isfinite(self.value) and self._not_finite is None:
            return TrialState.SUCCEEDED
        return TrialState.FAILED if self.value is not None or self.failure else TrialState.PRUNED

    @property
    def reason(self) -> str:
        """Why the trial failed, if it did."""
        if self.state is not TrialState.FAILED:
            return ""
        if self.failure:
            return self.failure
        name = self._not_finite
        return f"the objective is {self.value}" if name is None else f"metric {name!r} is {self.metrics[name]}"

    @property
    def _not_finite(self) -> str | None:
        return next((name for name, value in self.metrics.items() if not math.isfinite(value)), None)

    def check(self, name: TrialName, state: TrialState, value: float | None, result: Result | None) -> None:
        """Raises FailedPrecondition (WRONG_STATE) if the trial, which has ended, did not end so."""
        told = {} if result is None else result.metrics
        is_other = value != self.value or any(told.get(key) != each for key, each in self.metrics.items())
        if state is not self.state or (state is TrialState.SUCCEEDED and is_other):
            raise FailedPrecondition(f"{name} has ended: it is {state.name}, value {value}, {dict(told)}")
