"""The port of a trainer: what the worker and the profiler know of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hydro.tuner.training.gate import Gate
from hydro.tuner.training.lane import CurrentTrial, LaneClone, LaneFailure, LaneSpec, LaneStatus, MemoryMiss
from hydro.tuner.training.models import ModelLibrary
from hydro.tuner.training.placed_task import PlacedTask


class MetricMissing(ValueError):
    """The objective's metric is none that the task reports."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every trainer is given."""

    task: PlacedTask
    models: ModelLibrary
    data_seed: int
    """Of the data's order, the same for all trials of a study."""
    gate: Gate
    """What each piece of work passes."""
    objective: str
    """The metric that plateau schedules follow, and that validation must give."""
    current: CurrentTrial
    """Is told whose code runs."""


class BundleTrainer(Protocol):
    """Trains the lanes of one bundle.

    Laws, proven for each adapter by `tests/equivalence/training`:
    a trial's results do not depend on the other lanes, on when they come and go, or on the adapter;
    a trial that goes on from its checkpoint ends where it would have without the pause;
    what fails in one lane ends that lane alone.
    """

    @property
    def lanes(self) -> tuple[LaneStatus, ...]:
        """The lanes in training, in their order; those that failed are not among them."""
        ...

    @property
    def fusion_count(self) -> int:
        """Lanes that run as one program; 1 when each runs alone."""
        ...

    @property
    def report(self) -> str:
        """How the lanes run, in words."""
        ...

    @property
    def misses(self) -> tuple[MemoryMiss, ...]:
        """The lanes at once that ran out of memory here, in order; since then fewer of them run at once."""
        ...

    @property
    def undoes_steps(self) -> bool:
        """Whether a step that raises leaves every lane whole: as before the step, or as after it."""
        ...

    def run_at_most(self, lanes: int) -> None:
        """Has at most so many lanes run at once from the next step on; what runs them one by one does so anyway."""
        ...

    def train_step(self) -> None:
        """Takes every lane one optimizer step further. Does nothing when there are no lanes.

        Raises:
            Exception: Any that `is_out_of_memory` tells: the lanes have to be built again from their checkpoints,
                fewer at once or fewer in all.
        """
        ...

    def validate(self, trials: Sequence[str]) -> dict[str, dict[str, float]]:
        """Measures lanes on the whole validation set, and tells their plateau schedules.

        Returns:
            By trial, each metric's mean over the samples: `validation_loss` and the task's own. May be non-finite.

        Raises:
            MetricMissing: The task does not report the objective's metric.
        """
        ...

    def checkpoint(self, trial: str) -> bytes:
        """Gives one lane's whole state as a safetensors file (see `checkpoint.py`)."""
        ...

    def insert(self, lanes: Sequence[LaneSpec]) -> None:
        """Takes lanes in, at the end. Those that cannot be built are found in `take_failures`.

        Raises:
            NotFusible: A fused trainer cannot run them beside its lanes; it is as it was before.
            Exception: Any that `is_out_of_memory` tells: there is no room for all of them, and it is as it was before.
        """
        ...

    def clone(self, clones: Sequence[LaneClone]) -> None:
        """Has lanes go on from their parents' states, all as these are now, where they stand.

        A lane is then what it would be if it had been inserted with the parent's checkpoint and these hyperparameters:
        its schedule is where they would have it by now. No parent is replaced by another lane at the same time. Lanes
        that cannot go on so are found in `take_failures`.

        Raises:
            NotFusible: A fused trainer cannot run them side by side any more; it is as it was before.
        """
        ...

    def remove(self, trials: Collection[str]) -> None:
        """Drops lanes."""
        ...

    def take_failures(self) -> tuple[LaneFailure, ...]:
        """Gives, once, the lanes that failed since the last call; they have been removed."""
        ...


def require_metric(metrics: Mapping[str, float], objective: str) -> float:
    """Gives the objective's value.

    Raises:
        MetricMissing: It is not among the metrics.
    """
    if objective not in metrics:
        raise MetricMissing(f"the task never reports {objective!r}: it reports {', '.join(sorted(metrics))}")
    return metrics[objective]
