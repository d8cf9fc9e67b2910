"""What the demo measured."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hydro.client.snapshots import StudySnapshot, StudyStatistics
from hydro.client.spaces import Scalar
from hydro.client.surrogates import Profile


@dataclass(frozen=True, slots=True)
class Figures:
    """Every figure is measured in the run it is of.

    `seconds_per_trial` is device-seconds of all search trials over their number; `unfused_target_seconds_per_trial` the
    target's seconds per step times the mean steps of a trial; `wall_seconds` from the study's creation to its end. The
    target's metrics are accuracies, means over seeds. `pipeline_step_seconds_squeezed` is the mean of steps with trials
    in their bubbles while only the slot worked.
    """

    trials: Mapping[str, int]
    bundles: int
    max_fusion_count: int
    wall_seconds: float
    seconds_per_trial: float
    unfused_target_seconds_per_trial: float
    best_hyperparameters: Mapping[str, Scalar]
    target_metric_transferred: float
    target_metric_default: float
    pipeline_step_seconds_alone: float
    pipeline_step_seconds_squeezed: float
    slot_trial_steps: int
    trial_steps: int

    def write(self, path: Path) -> None:
        """Writes them as JSON, a key for each name."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")


def seconds_per_trial(statistics: StudyStatistics) -> float:
    """Device time of all search trials over their number."""
    return statistics.device_seconds / max(1, trial_count(statistics))


def unfused_seconds_per_trial(statistics: StudyStatistics, profile: Profile) -> float:
    """What the same steps would have taken on the target, one trial after the other."""
    return profile.target_step_seconds * statistics.trial_steps / max(1, trial_count(statistics))


def trial_count(statistics: StudyStatistics) -> int:
    """Search trials, in whatever state."""
    return sum(statistics.trials_by_state.values())


def wall_seconds(study: StudySnapshot) -> float:
    """From the study's creation to its end; not a number before that."""
    if study.create_time is None or study.end_time is None:
        return float("nan")
    return (study.end_time - study.create_time).total_seconds()


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; not a number of nothing."""
    return sum(values) / len(values) if values else float("nan")
