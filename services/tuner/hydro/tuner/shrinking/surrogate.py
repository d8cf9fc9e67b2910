"""From a task to its surrogate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from hydro.tuner.shrinking.depth import are_of, cut
from hydro.tuner.shrinking.factory import Factory
from hydro.tuner.shrinking.initial_values import Distribution
from hydro.tuner.shrinking.rule_table import MUP
from hydro.tuner.shrinking.shrink import ShrunkModel, shrink
from hydro.tuner.shrinking.solution import Solution
from hydro.tuner.task import Hyperparameters, TrainingTask
from hydro.tuner.tracing import NotTraceable


class _Captured(Exception):
    """Ends the task's loss as soon as it has called the model."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.args = args
        self.kwargs = kwargs


def build_surrogate(
    task: TrainingTask,
    hyperparameters: Hyperparameters,
    width: float,
    *,
    depth: float = 1.0,
    feature_learning: float = MUP,
    solution: Solution | None = None,
    seed: int = 0,
) -> ShrunkModel:
    """Shrinks a task's model, with fresh values from the seed.

    With a solution that fits, nothing is solved again, and the target is built without memory where its constructor
    allows that. A task that clips gradients gets the readout whose gradient keeps its scale across widths.
    `feature_learning` is the parametrization's p. `depth` is layers over the target's; a solution brings its own.

    Raises:
        NotTraceable: the model cannot be exported, or the task's loss does not call it.
        NoResidualStack: a depth below 1, and the model has no layers that can be left out.
        PretrainedModel: the task declares its model pretrained.
        WidthTooSmall: the widest dimension would have no channel left.
    """
    model = build_target(task, hyperparameters, seed=seed, solution=solution)
    batch = next(iter(task.train_batches(hyperparameters, 0, 0)))
    args, kwargs = capture_inputs(task, model, batch, hyperparameters)
    shrunk = shrink(
        at_any_width(task, hyperparameters, model, width),
        args,
        width,
        depth=solution.depth if solution else depth,
        example_keywords=kwargs,
        multiplied_readout=task.gradient_clip_norm is not None,
        feature_learning=feature_learning,
        pretrained=task.pretrained,
        solution=solution,
    )
    shrunk.initialize(seed)
    return shrunk


def at_any_width(
    task: TrainingTask, hyperparameters: Hyperparameters, target: nn.Module, width: float
) -> nn.Module | Factory:
    """The target, or what gives it at a width where the task offers that."""
    narrow = task.model_at_width(hyperparameters, width)
    if narrow is None:
        return target
    return lambda asked: target if asked == 1 else narrow


def build_target(
    task: TrainingTask, hyperparameters: Hyperparameters, *, seed: int, solution: Solution | None = None
) -> nn.Module:
    """The task's own model in the task's precision, with initial values from the seed; the random state stays.

    With a solution of this model that holds all initial values it is on the meta device, if its constructor runs there:
    hyperparameters may choose another architecture than the one that was solved, which has to be measured.
    """
    dtype = torch.float64 if task.precision == "float64" else None
    if solution is not None and not _keeps_values(solution):
        try:
            with _seeded(seed), torch.device("meta"):
                model = task.model(hyperparameters)
            if _is_without_values(model) and _is_of(solution, model):
                return model.to(dtype=dtype)
        except Exception:  # noqa: BLE001 - a constructor that looks at values cannot run without them: build it in full
            pass
    with _seeded(seed):
        return task.model(hyperparameters).to(dtype=dtype)


def capture_inputs(
    task: TrainingTask, model: nn.Module, batch: Any, hyperparameters: Hyperparameters
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the task's loss calls the model with, found without running the model.

    Raises:
        NotTraceable: the loss never calls the model itself.
    """

    def stop(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        raise _Captured(args, kwargs)

    hook = model.register_forward_pre_hook(stop, with_kwargs=True, prepend=True)
    try:
        with torch.no_grad():
            task.loss(model, batch, hyperparameters)
    except _Captured as captured:
        return captured.args, captured.kwargs
    finally:
        hook.remove()
    raise NotTraceable("the task's loss never calls the model: call model(...), not its methods")


def _keeps_values(solution: Solution) -> bool:
    return any(each.initial.distribution is Distribution.KEPT for each in solution.tensors)


def _is_of(solution: Solution, model: nn.Module) -> bool:
    return are_of(solution.stacks, model) and solution.is_of(cut(model, solution.stacks))


def _is_without_values(model: nn.Module) -> bool:
    return all(each.is_meta for each in [*model.parameters(), *model.buffers()]) and not _holds_tensors(model)


def _holds_tensors(model: nn.Module) -> bool:
    """Some module holds a tensor that is no parameter and no buffer: on the meta device its values would be lost."""
    return any(isinstance(value, Tensor) for module in model.modules() for value in vars(module).values())


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
