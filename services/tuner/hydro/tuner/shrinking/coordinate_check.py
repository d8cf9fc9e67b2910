"""Does the parametrization hold? Activations must change alike at every width.

L0, static: every op has a rule, every parameter that shrinks a class. L1, dynamic: surrogates of several widths train a
few steps; the change of each layer's output is fitted against the width in log-log, with a confidence interval. A
layer whose change surely grows with the width would make large learning rates diverge at the target.
Source: TP-V, appendix D.1; thresholds: measured on perceptrons, where the standard parametrization has slopes of 0.45
to 0.54 and muP of -0.03 to -0.24.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor
from torch.fx import Interpreter, Node

from hydro.tuner.shrinking.classification import TensorClass
from hydro.tuner.shrinking.programs import Program
from hydro.tuner.shrinking.shrink import ShrunkModel, shrink
from hydro.tuner.shrinking.shrunk_module import ShrunkModule
from hydro.tuner.shrinking.surrogate import build_target, capture_inputs
from hydro.tuner.task import Hyperparameters, TrainingTask

TOLERANCE = 0.15
"""Slopes within this of zero are flat."""

_STUDENT_T_95 = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Two-sided quantiles for 1, 2, ... degrees of freedom; beyond, the normal's."""


class Verdict(Enum):
    """What a layer's slope says."""

    PASS = "pass"
    WARN = "warn"
    """Changes shrink with the width: transfer is conservative, not unstable."""
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class LayerSlope:
    """How the change of a layer's output grows with the width: its exponent, with a 95 % interval."""

    layer: str
    slope: float
    half_width: float

    @property
    def verdict(self) -> Verdict:
        """Fails when the whole interval is above the tolerance, warns when it is below."""
        if self.slope - self.half_width > TOLERANCE:
            return Verdict.FAIL
        if self.slope + self.half_width < -TOLERANCE:
            return Verdict.WARN
        return Verdict.PASS

    def __str__(self) -> str:
        return f"{self.layer}: {self.slope:+.2f} +- {self.half_width:.2f} {self.verdict.value}"


@dataclass(frozen=True, slots=True)
class CoordinateCheck:
    """The outcome: static findings, and a slope for each layer."""

    findings: tuple[str, ...]
    widths: tuple[float, ...]
    layers: tuple[LayerSlope, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user should know."""
        failed = [each for each in self.layers if each.verdict is Verdict.FAIL]
        return (
            *self.findings,
            *(
                f"coordinate check: the output of {each.layer} changes more at larger widths (slope {each.slope:+.2f}"
                f" +- {each.half_width:.2f}): its learning rate may be too large for the target"
                for each in failed
            ),
        )

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
        return CoordinateCheck(_static_findings(shrunk), widths, ())
    models = [shrunk, *_wider(task, hyperparameters, shrunk, widths[1:])]
    changes = [[_changes(task, hyperparameters, model, seed, steps) for seed in range(seeds)] for model in models]
    diverged = [
        f"coordinate check: training at width {width:.4g} diverges with the default hyperparameters"
        for width, by_seed in zip(widths, changes, strict=True)
        if not all(math.isfinite(change) for each in by_seed for change in each.values())
    ]
    layers = () if diverged else tuple(_slope(layer, widths, changes) for layer in changes[0][0])
    return CoordinateCheck((*_static_findings(shrunk), *diverged), widths, layers)


def _static_findings(shrunk: ShrunkModel) -> tuple[str, ...]:
    wrong = [
        each.name
        for each in shrunk.solution.tensors
        if each.is_parameter and each.shape != each.target_shape and each.classified.tensor_class is TensorClass.FIXED
    ]
    return (*shrunk.report.warnings, *(f"{name} shrinks, but has no class" for name in wrong))


def _wider(
    task: TrainingTask, hyperparameters: Hyperparameters, shrunk: ShrunkModel, widths: Sequence[float]
) -> list[ShrunkModel]:
    model = build_target(task, hyperparameters, seed=0)
    args, kwargs = capture_inputs(task, model, next(iter(task.train_batches(hyperparameters, 0, 0))), hyperparameters)
    solution = shrunk.solution
    return [
        shrink(
            model,
            args,
            each,
            example_keywords=kwargs,
            multiplied_readout=solution.multiplied_readout,
            feature_learning=solution.feature_learning,
        )
        for each in widths
    ]


def _changes(
    task: TrainingTask, hyperparameters: Hyperparameters, shrunk: ShrunkModel, seed: int, steps: int
) -> dict[str, float]:
    """The mean absolute change of each layer's output on the first batch, after a few steps."""
    shrunk.initialize(seed)
    model: ShrunkModule = copy.deepcopy(shrunk.model).train()
    batches = iter(task.train_batches(hyperparameters, seed, 0))
    first = next(batches)
    args, kwargs = capture_inputs(task, model, first, hyperparameters)
    optimizer = task.optimizer(model, hyperparameters)
    shrunk.parametrization.apply(optimizer, model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        before = _outputs(model, args, kwargs, seed)
        batch = first
        for _ in range(steps):
            optimizer.zero_grad()
            task.loss(model, batch, hyperparameters).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            batch = next(batches)
        after = _outputs(model, args, kwargs, seed)
    return {layer: float((after[layer] - before[layer]).abs().mean()) for layer in before}


def _outputs(model: ShrunkModule, args: tuple[Any, ...], kwargs: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    """The output of every layer, by the name of its weight; the same dropout masks for the same seed."""
    program = model.program(*args, **kwargs)
    recorder = _Recorder(program)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        recorder.run(*program.flat_inputs(model, args, kwargs))
    return recorder.outputs


class _Recorder(Interpreter):
    """Runs a program and keeps what comes out of each call with a matrix parameter."""

    def __init__(self, program: Program) -> None:
        super().__init__(program.graph_module)
        self.outputs: dict[str, Tensor] = {}
        self._layers = program.layers()

    def run_node(self, n: Node) -> Any:
        """Runs one node."""
        result = super().run_node(n)
        if n in self._layers and isinstance(result, Tensor):
            self.outputs[self._layers[n]] = result.detach().clone()
        return result


def _slope(layer: str, widths: Sequence[float], changes: Sequence[Sequence[Mapping[str, float]]]) -> LayerSlope:
    """Least squares over all widths and seeds, each seed with a level of its own."""
    x = [math.log2(width) for width in widths]
    middle = sum(x) / len(x)
    seeds = range(len(changes[0]))
    points = []
    for seed in seeds:
        y = [_log2(by_seed[seed][layer]) for by_seed in changes]
        level = sum(y) / len(y)
        points += [(one - middle, other - level) for one, other in zip(x, y, strict=True)]
    spread = sum(one * one for one, _ in points)
    slope = sum(one * other for one, other in points) / spread
    freedom = len(points) - len(seeds) - 1
    residual = sum((other - slope * one) ** 2 for one, other in points)
    quantile = _STUDENT_T_95[freedom - 1] if freedom <= len(_STUDENT_T_95) else 2.0
    return LayerSlope(layer, slope, quantile * math.sqrt(residual / freedom / spread))


def _log2(change: float) -> float:
    """Zero stays apart from the smallest change by a finite distance."""
    return math.log2(max(change, 1e-30))
