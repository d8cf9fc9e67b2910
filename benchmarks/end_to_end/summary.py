"""The figures that the contract names, each for the worse of the models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev

from scipy.stats import t as student_t

from benchmarks.end_to_end.outcome import Outcome
from benchmarks.end_to_end.subject import Subject

FIGURES = (
    "search_time_ratio",
    "total_time_ratio",
    "target_metric_hydro",
    "target_metric_optuna",
    "metric_difference_upper_95",
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One model's two arms."""

    subject: Subject
    optuna: Outcome
    hydro: Outcome

    @property
    def search_time_ratio(self) -> float:
        """Optuna's search time over Hydro's."""
        return self.optuna.search_seconds / self.hydro.search_seconds

    @property
    def total_time_ratio(self) -> float:
        """The same with the target's final training."""
        return self.optuna.total_seconds / self.hydro.total_seconds

    def target_metric(self, outcome: Outcome) -> float:
        """The mean over seeds of what an arm's target measures."""
        return fmean(outcome.metric_by_seed(self.subject.metric).values())

    @property
    def metric_difference_upper_95(self) -> float:
        """The one-sided 95 % bound of the relative difference, by Student's t over paired seeds; positive is worse."""
        metric, sign = self.subject.metric, -1 if self.subject.is_maximized else 1
        optuna = self.optuna.metric_by_seed(metric)
        hydro = self.hydro.metric_by_seed(metric)
        differences = [sign * (hydro[seed] - value) / abs(value) for seed, value in optuna.items()]
        count = len(differences)
        return fmean(differences) + float(student_t.ppf(0.95, count - 1)) * stdev(differences) / sqrt(count)


def summarize(comparisons: Sequence[Comparison]) -> dict[str, float | None]:
    """The summary of a full run; the metrics are those of the model with the worse difference."""
    if not comparisons:
        return dict.fromkeys(FIGURES)
    worst = max(comparisons, key=lambda each: each.metric_difference_upper_95)
    return {
        "search_time_ratio": min(each.search_time_ratio for each in comparisons),
        "total_time_ratio": min(each.total_time_ratio for each in comparisons),
        "target_metric_hydro": worst.target_metric(worst.hydro),
        "target_metric_optuna": worst.target_metric(worst.optuna),
        "metric_difference_upper_95": worst.metric_difference_upper_95,
    }
