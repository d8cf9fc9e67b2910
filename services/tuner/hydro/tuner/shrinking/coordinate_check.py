"""Does the parametrization hold? Activations must change alike at every width.

L0, static: every op has a rule, every parameter that shrinks a class. L1, dynamic: surrogates of several widths train a
few steps; the change of each layer's output is fitted against the width in log-log, with a confidence interval. A
layer whose change surely grows with the width would make large learning rates diverge at the target. One that fails is
measured again with other seeds, and twice as many: of tens of layers, one is outside of its interval by chance.
Source: TP-V, appendix D.1; thresholds: measured on perceptrons, where the standard parametrization has slopes of 0.45
to 0.54 and muP of -0.03 to -0.24.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch.optim import Optimizer

from hydro.tuner.shrinking.classification import TensorClass
from hydro.tuner.shrinking.layer_outputs import layer_outputs
from hydro.tuner.shrinking.short_run import ShortRun, wider_surrogates
from hydro.tuner.shrinking.shrink import ShrunkModel
from hydro.tuner.shrinking.slopes import LayerSlope, Verdict, fit_slope
from hydro.tuner.shrinking.surrogate import capture_inputs
from hydro.tuner.task import Hyperparameters, TrainingTask


@dataclass(frozen=True, slots=True)
class CoordinateCheck:
    """The outcome: static findings, and a slope for each layer."""

    findings: tuple[str, ...]
    widths: tuple[float, ...]
    layers: tuple[LayerSlope, ...]
    failures: tuple[str, ...] = ()
    """What must not be, with the layer and the rule that is likely wrong."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know."""
        return (*self.findings, *self.failures)

    def __str__(self) -> str:
        widths = ", ".join(f"{width:.4g}" for width in self.widths)
        return "\n".join([f"coordinate check at widths {widths}:", *(f"  {each}" for each in self.layers)])


def check_coordinates(
    task: TrainingTask,
    hyperparameters: Hyperparameters,
    shrunk: ShrunkModel,
    *,
    seeds: int = 3,
    steps: int = 4,
) -> CoordinateCheck:
    """Checks a surrogate: trains it and wider ones, up to four times its width, for a few steps each."""
    width = shrunk.solution.width
    widths = tuple(sorted({width, min(1.0, 2 * width), min(1.0, 4 * width)}))
    if len(widths) < 2:
        return CoordinateCheck(shrunk.report.warnings, widths, (), _unclassified(shrunk))
    models = [shrunk, *wider_surrogates(task, hyperparameters, shrunk, widths[1:])]
    optimizer_type = type(task.optimizer(shrunk.model, hyperparameters))
    first = _measured(task, hyperparameters, models, range(seeds), steps)
    again = _measured(task, hyperparameters, models, range(seeds, 3 * seeds), steps) if first.failed else first
    failures = [
        _failure(shrunk, optimizer_type, each, at_start=again.initial.get(each.layer))
        for each in again.layers
        if each.layer in first.failed & again.failed
    ]
    return CoordinateCheck(
        (*shrunk.report.warnings, *again.diverged), widths, again.layers, (*_unclassified(shrunk), *failures)
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    """Slopes of one set of seeds; none when a training diverged."""

    diverged: tuple[str, ...]
    layers: tuple[LayerSlope, ...]
    initial: Mapping[str, LayerSlope]
    """Of the size of each layer's output, before any step."""

    @property
    def failed(self) -> frozenset[str]:
        return frozenset(each.layer for each in self.layers if each.verdict is Verdict.FAIL)


def _measured(
    task: TrainingTask,
    hyperparameters: Hyperparameters,
    models: Sequence[ShrunkModel],
    seeds: Sequence[int],
    steps: int,
) -> _Measured:
    widths = tuple(model.solution.width for model in models)
    runs = [[layer_changes(task, hyperparameters, model, seed, steps) for seed in seeds] for model in models]
    sizes = [[before for before, _ in by_seed] for by_seed in runs]
    changes = [[change for _, change in by_seed] for by_seed in runs]
    diverged = tuple(
        f"coordinate check: training at width {width:.4g} diverges with the default hyperparameters"
        for width, by_seed in zip(widths, changes, strict=True)
        if not all(math.isfinite(change) for each in by_seed for change in each.values())
    )
    layers = () if diverged else tuple(fit_slope(layer, widths, changes) for layer in changes[0][0])
    return _Measured(diverged, layers, {each.layer: fit_slope(each.layer, widths, sizes) for each in layers})


def _failure(
    shrunk: ShrunkModel, optimizer_type: type[Optimizer], found: LayerSlope, at_start: LayerSlope | None
) -> str:
    return (
        f"coordinate check: the output of {found.layer} changes more at larger widths (slope {found.slope:+.2f} +-"
        f" {found.half_width:.2f}): likely wrong is {_likely_rule(shrunk, optimizer_type, found.layer, at_start)}"
    )


def _likely_rule(shrunk: ShrunkModel, optimizer_type: type[Optimizer], layer: str, at_start: LayerSlope | None) -> str:
    """The row of the table that the layer's weight stands in: what is too large before any step is no learning rate."""
    entry = "initial values" if at_start and at_start.verdict is Verdict.FAIL else "learning rate"
    weights = [
        f"{each.name} ({each.classified.tensor_class.value})"
        for each in shrunk.solution.tensors
        if each.is_parameter and len(each.shape) > 1 and each.name in (layer, f"{layer}.{each.name.rpartition('.')[2]}")
    ]
    return f"the rule for the {entry} of {', '.join(weights) or layer} under {optimizer_type.__name__}"


def _unclassified(shrunk: ShrunkModel) -> tuple[str, ...]:
    return tuple(
        f"{each.name} shrinks, but has no class: no rule scales its learning rate"
        for each in shrunk.solution.tensors
        if each.is_parameter and each.shape != each.target_shape and each.classified.tensor_class is TensorClass.FIXED
    )


def layer_changes(
    task: TrainingTask, hyperparameters: Hyperparameters, shrunk: ShrunkModel, seed: int, steps: int
) -> tuple[dict[str, float], dict[str, float]]:
    """The mean absolute size of each layer's output on the first batch, and of its change after a few steps."""
    run = ShortRun(task, hyperparameters, shrunk, seed)
    args, kwargs = capture_inputs(task, run.model, run.first_batch, hyperparameters)
    before = layer_outputs(run.model, args, kwargs, seed)
    run.train(steps)
    after = layer_outputs(run.model, args, kwargs, seed)
    sizes = {layer: float(each.abs().mean()) for layer, each in before.items()}
    return sizes, {layer: float((after[layer] - before[layer]).abs().mean()) for layer in before}
