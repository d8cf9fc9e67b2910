"""From a bundle's recipe to its trainer."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
import torch

from hydro.tuner.fusion.lower import NotFusible
from hydro.tuner.shrinking.solution import Solution
from hydro.tuner.task import TrainingTask
from hydro.tuner.tracing import NotTraceable
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.fused_trainer import FusedTrainer
from hydro.tuner.training.gate import Gate
from hydro.tuner.training.lane import CurrentTrial, LaneSpec
from hydro.tuner.training.models import ModelLibrary
from hydro.tuner.training.placed_task import PlacedTask
from hydro.tuner.training.separate_trainer import SeparateTrainer
from hydro.tuner.training.trainer import BundleTrainer, Surroundings

_CPU = torch.device("cpu")


def build_trainer(
    task: TrainingTask,
    *,
    width: float,
    solution: Solution | None,
    execution: Execution,
    lanes: Sequence[LaneSpec],
    data_seed: int,
    gate: Gate,
    objective: str = "validation_loss",
    device: torch.device = _CPU,
    current: CurrentTrial | None = None,
    micro_lanes: int | None = None,
) -> BundleTrainer:
    """Builds a bundle's trainer with its lanes in it.

    Lanes that cannot be built are found in `take_failures`. Models that cannot run as one program run separately,
    whatever `execution` asks for: the trainer's `report` says why.

    Args:
        task: The user's; its precision and defaults are applied here.
        width: Surrogate over target, in (0, 1].
        solution: The surrogate's dimension solution; None: it is solved again.
        execution: As the plan says.
        lanes: The trials.
        data_seed: Of the data's order, the same for all trials of a study.
        gate: What each piece of work passes.
        objective: The metric that plateau schedules follow, and that validation must give.
        device: Where the lanes live.
        current: Is told whose code runs.
        micro_lanes: The most lanes of a fused bundle that run at once; None: all of them.
    """
    placed = PlacedTask(task, device)
    models = ModelLibrary(placed, width, solution)
    given = Surroundings(placed, models, data_seed, gate, objective, current or CurrentTrial())
    if execution is not Execution.SEPARATE:
        fused = FusedTrainer(given, micro_lanes, compiles=execution is Execution.COMPILED)
        try:
            fused.insert(lanes)
        except (NotTraceable, NotFusible) as error:
            structlog.get_logger().warning("bundle runs as separate models", reason=str(error))
        else:
            return fused
    separate = SeparateTrainer(given)
    separate.insert(lanes)
    return separate
