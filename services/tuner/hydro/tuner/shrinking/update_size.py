"""L2 of verification: does every tensor move alike at every width?

A tensor that is contracted must move by sqrt(fan_out / fan_in) in spectral norm, one that is looked up or multiplies by
the same size in each element. That is a test of each row by itself, and it finds a wrong axis of fan-in even where
activations look flat. Unlike a layer's output, a tensor's movement has an exact exponent: both signs fail.

Source: Yang, Simon & Bernstein 2023 (arXiv:2310.17813), condition 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hydro.tuner.shrinking.classification import Classified, TensorClass
from hydro.tuner.shrinking.rule_table import goes_by_elements
from hydro.tuner.shrinking.short_run import ShortRun, wider_surrogates
from hydro.tuner.shrinking.shrink import ShrunkModel
from hydro.tuner.shrinking.slopes import TOLERANCE, LayerSlope, fit_slope
from hydro.tuner.task import Hyperparameters, TrainingTask

_ITERATIONS = 30
"""Of the power iteration: within a percent, since the first singular value of an update stands out."""


@dataclass(frozen=True, slots=True)
class UpdateSizeCheck:
    """How each tensor's movement goes with the width; right is a slope of zero."""

    widths: tuple[float, ...]
    tensors: tuple[LayerSlope, ...]
    classes: Mapping[str, TensorClass]

    @property
    def wrong(self) -> tuple[LayerSlope, ...]:
        """The tensors whose interval lies outside the tolerance, above or below."""
        return tuple(each for each in self.tensors if abs(each.slope) - each.half_width > TOLERANCE)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know."""
        return tuple(
            f"update size: {each.layer} ({self.classes[each.layer].value}) moves"
            f" {'more' if each.slope > 0 else 'less'} at larger widths (slope {each.slope:+.2f}"
            f" +- {each.half_width:.2f}): the learning rate of its row, or its class, is wrong for this optimizer"
            for each in self.wrong
        )

    def __str__(self) -> str:
        widths = ", ".join(f"{width:.4g}" for width in self.widths)
        wrong = {each.layer for each in self.wrong}
        rows = (
            f"  {each.layer}: {each.slope:+.2f} +- {each.half_width:.2f} {'FAIL' if each.layer in wrong else 'pass'}"
            for each in self.tensors
        )
        return "\n".join([f"update sizes at widths {widths}:", *rows])


def check_update_sizes(
    task: TrainingTask, hyperparameters: Hyperparameters, shrunk: ShrunkModel, *, seeds: int = 3, steps: int = 3
) -> UpdateSizeCheck:
    """Trains a surrogate and wider ones, up to four times its width, for a few steps each."""
    width = shrunk.solution.width
    widths = tuple(sorted({width, min(1.0, 2 * width), min(1.0, 4 * width)}))
    models = [shrunk, *wider_surrogates(task, hyperparameters, shrunk, widths[1:])]
    return compare_update_sizes(task, hyperparameters, models, seeds=seeds, steps=steps)


def compare_update_sizes(
    task: TrainingTask,
    hyperparameters: Hyperparameters,
    models: Sequence[ShrunkModel],
    *,
    seeds: int = 3,
    steps: int = 3,
) -> UpdateSizeCheck:
    """Fits the movement of each tensor that shrinks over surrogates of rising width."""
    widths = tuple(each.solution.width for each in models)
    classes = {each.name: each.classified.tensor_class for each in models[0].solution.tensors if each.is_parameter}
    if len(widths) < 2:
        return UpdateSizeCheck(widths, (), classes)
    sizes = [[_sizes(task, hyperparameters, each, seed, steps) for seed in range(seeds)] for each in models]
    shrinking = [name for name in sizes[0][0] if classes[name] is not TensorClass.FIXED]
    return UpdateSizeCheck(widths, tuple(fit_slope(name, widths, sizes) for name in shrinking), classes)


def _sizes(
    task: TrainingTask, hyperparameters: Hyperparameters, shrunk: ShrunkModel, seed: int, steps: int
) -> dict[str, float]:
    run = ShortRun(task, hyperparameters, shrunk, seed)
    before = {name: each.detach().clone() for name, each in run.model.named_parameters()}
    run.train(steps)
    rules = shrunk.parametrization
    sizes = {}
    for name, each in run.model.named_parameters():
        one = rules.parameters[name]
        # A multiplied weight moves the output by what its multiplier makes of it.
        multiplier = rules.forward_multiplier(name, one.fan_in_ratio)
        sizes[name] = _relative_size(each.detach() - before[name], one, multiplier)
    return sizes


def _relative_size(update: Tensor, classified: Classified, multiplier: float) -> float:
    """The update's size over the one that the rule wants, up to a constant that no width changes."""
    if goes_by_elements(classified.tensor_class) or update.ndim < 2:
        return float(update.norm()) / math.sqrt(max(update.numel(), 1))
    wanted = math.sqrt(classified.fan_out_ratio / classified.fan_in_ratio)
    return multiplier * spectral_norm(update.flatten(1)) / wanted


def spectral_norm(matrix: Tensor) -> float:
    """The largest singular value, by power iteration.

    Shape: [rows, columns].
    """
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(matrix.shape[1], generator=generator, dtype=torch.float64)
    vector = start.to(matrix.device, matrix.dtype)
    for _ in range(_ITERATIONS):
        image = matrix.mT @ (matrix @ vector)
        length = float(image.norm())
        if length == 0:
            return 0.0
        vector = image / length
    return float((matrix @ vector).norm())
