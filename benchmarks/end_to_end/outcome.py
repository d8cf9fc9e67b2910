"""What one arm made of one subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Outcome:
    """One arm's search and final trainings. Units: seconds of wall time."""

    model: str
    arm: str
    """"optuna" or "hydro"."""
    search_seconds: float
    """From nothing to the best hyperparameters; the suite's start, export and profiling included."""
    target_seconds: float
    """The target's final training with the first seed, alone on the machine."""
    best_hyperparameters: Mapping[str, Any]
    best_value: float
    """Of the search: on the surrogate in Hydro's arm."""
    trials_by_state: Mapping[str, int]
    trial_steps: int
    """Optimizer steps of all trials together."""
    target_metrics: Mapping[str, Mapping[str, float]]
    """By seed, what the finally trained target measured."""

    @property
    def total_seconds(self) -> float:
        """The search, and the training of its result."""
        return self.search_seconds + self.target_seconds

    def metric_by_seed(self, metric: str) -> dict[str, float]:
        """One metric of the finally trained targets."""
        return {seed: measured[metric] for seed, measured in self.target_metrics.items()}

    def to_row(self) -> dict[str, Any]:
        """A row of the report, that `from_row` reads."""
        return asdict(self)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Reads what `to_row` gave."""
        return cls(**row)
