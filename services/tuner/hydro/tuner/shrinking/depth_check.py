"""Does the rule of depth hold? Outputs must change alike in surrogates of other depths.

Compared are the layers that stand at the same place in each of them: those outside of the stacks, and the first of each
stack. An exponent of up to one half has a known cause, and is a warning: random branches times L / l add up to a stream
that is larger in the shallower model by the root of L / l, so that what normalizes it passes less of its change on.
What surely grows faster, as it does without the multiplier (see `depth`), fails; it is measured twice, by other seeds.

Source: CompleteP, arXiv:2505.01618, whose outputs change alike at every depth with alpha = 1 alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from hydro.tuner.shrinking.coordinate_check import layer_changes
from hydro.tuner.shrinking.depth import Stack
from hydro.tuner.shrinking.short_run import deeper_surrogates
from hydro.tuner.shrinking.shrink import ShrunkModel
from hydro.tuner.shrinking.slopes import TOLERANCE, LayerSlope, fit_slope
from hydro.tuner.task import Hyperparameters, TrainingTask

_OF_THE_INITIAL_STREAM = 0.5


@dataclass(frozen=True, slots=True)
class DepthCheck:
    """How the change of each output goes with the number of layers."""

    depths: tuple[float, ...]
    """Layers over the target's, as they came out; a single one where there was nothing to compare."""
    layers: tuple[LayerSlope, ...] = ()
    """None where a training diverged, of which the coordinate check tells."""
    failures: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know beside the failures."""
        return tuple(
            f"depth check: {_told(each)}: the target's best learning rate may be lower"
            for each in self.layers
            if each.slope - each.half_width > TOLERANCE and not _has_failed(each)
        )

    def __str__(self) -> str:
        depths = ", ".join(f"{depth:.4g}" for depth in self.depths)
        return "\n".join(
            [
                f"coordinate check at depths {depths}:",
                *(f"  {each.layer}: {each.slope:+.2f} +- {each.half_width:.2f}" for each in self.layers),
            ]
        )


def check_depths(
    task: TrainingTask,
    hyperparameters: Hyperparameters,
    shrunk: ShrunkModel,
    *,
    seeds: int = 3,
    steps: int = 4,
) -> DepthCheck:
    """Trains a surrogate with fewer layers, and ones with twice and four times as many, for a few steps each."""
    depth = shrunk.solution.depth
    wanted = sorted({min(1.0, 2 * depth), min(1.0, 4 * depth)} - {depth})
    deeper = deeper_surrogates(task, hyperparameters, shrunk, wanted)
    models = {_layers(each, shrunk): each for each in (*deeper, shrunk)}
    depths = tuple(sorted(models))
    if len(depths) < 2:
        return DepthCheck(depths)

    def slopes(seeds: Sequence[int]) -> tuple[LayerSlope, ...]:
        return _slopes(task, hyperparameters, [models[each] for each in depths], depths, seeds, steps)

    first = slopes(range(seeds))
    failed = {each.layer for each in first if _has_failed(each)}
    if not failed:
        return DepthCheck(depths, first)
    again = slopes(range(seeds, 3 * seeds))
    return DepthCheck(
        depths, again, tuple(_failure(each) for each in again if each.layer in failed and _has_failed(each))
    )


def _layers(model: ShrunkModel, shrunk: ShrunkModel) -> float:
    """The layers that a model has, over the target's; one that was not cut has them all."""
    stacks = model.solution.stacks
    target = sum(stack.target_layers for stack in shrunk.solution.stacks)
    return sum(stack.layers for stack in stacks) / target if stacks else 1.0


def _slopes(
    task: TrainingTask,
    hyperparameters: Hyperparameters,
    models: Sequence[ShrunkModel],
    depths: Sequence[float],
    seeds: Sequence[int],
    steps: int,
) -> tuple[LayerSlope, ...]:
    changes = [[layer_changes(task, hyperparameters, model, seed, steps)[1] for seed in seeds] for model in models]
    if not all(math.isfinite(change) for by_seed in changes for each in by_seed for change in each.values()):
        return ()
    return tuple(fit_slope(layer, depths, changes) for layer in _compared(changes[0][0], models[0].solution.stacks))


def _compared(outputs: Iterable[str], stacks: Sequence[Stack]) -> Iterator[str]:
    """The outputs outside of the stacks that were cut, and in the first layer of each."""
    first: dict[str, str] = {}
    for output in outputs:
        stack = next((each for each in stacks if each.holds(output)), None)
        layer = stack and output.removeprefix(f"{stack.name}.").split(".")[0]
        if stack is None or first.setdefault(stack.name, str(layer)) == layer:
            yield output


def _has_failed(each: LayerSlope) -> bool:
    return each.slope - each.half_width > _OF_THE_INITIAL_STREAM + TOLERANCE


def _told(each: LayerSlope) -> str:
    return (
        f"the output of {each.layer} changes more with more layers (slope {each.slope:+.2f} +- {each.half_width:.2f})"
    )


def _failure(each: LayerSlope) -> str:
    return (
        f"depth check: {_told(each)}, by more than the root of their number: the task has a rule of its own for the"
        " number of layers, or they do more than add to a normalized stream; leave the depth at 1"
    )
