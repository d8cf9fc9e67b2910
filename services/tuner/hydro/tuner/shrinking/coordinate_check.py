"""Does the parametrization hold? Activations must change alike at every width.

L0, static: every op has a rule, every parameter that shrinks a class. L1, dynamic: surrogates of several widths train a
few steps; the change of each layer's output is fitted against the width in log-log, with a confidence interval. A
layer whose change surely grows with the width would make large learning rates diverge at the target.
Source: TP-V, appendix D.1; thresholds: measured on perceptrons, where the standard parametrization has slopes of 0.45
to 0.54 and muP of -0.03 to -0.24.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Interpreter, Node

from hydro.tuner.shrinking.classification import TensorClass
from hydro.tuner.shrinking.programs import Program
from hydro.tuner.shrinking.short_run import ShortRun, wider_surrogates
from hydro.tuner.shrinking.shrink import ShrunkModel
from hydro.tuner.shrinking.shrunk_module import ShrunkModule
from hydro.tuner.shrinking.slopes import LayerSlope, Verdict, fit_slope
from hydro.tuner.shrinking.surrogate import capture_inputs
from hydro.tuner.task import Hyperparameters, TrainingTask


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
    models = [shrunk, *wider_surrogates(task, hyperparameters, shrunk, widths[1:])]
    changes = [[_changes(task, hyperparameters, model, seed, steps) for seed in range(seeds)] for model in models]
    diverged = [
        f"coordinate check: training at width {width:.4g} diverges with the default hyperparameters"
        for width, by_seed in zip(widths, changes, strict=True)
        if not all(math.isfinite(change) for each in by_seed for change in each.values())
    ]
    layers = () if diverged else tuple(fit_slope(layer, widths, changes) for layer in changes[0][0])
    return CoordinateCheck((*_static_findings(shrunk), *diverged), widths, layers)


def _static_findings(shrunk: ShrunkModel) -> tuple[str, ...]:
    wrong = [
        each.name
        for each in shrunk.solution.tensors
        if each.is_parameter and each.shape != each.target_shape and each.classified.tensor_class is TensorClass.FIXED
    ]
    return (*shrunk.report.warnings, *(f"{name} shrinks, but has no class" for name in wrong))


def _changes(
    task: TrainingTask, hyperparameters: Hyperparameters, shrunk: ShrunkModel, seed: int, steps: int
) -> dict[str, float]:
    """The mean absolute change of each layer's output on the first batch, after a few steps."""
    run = ShortRun(task, hyperparameters, shrunk, seed)
    args, kwargs = capture_inputs(task, run.model, run.first_batch, hyperparameters)
    before = _outputs(run.model, args, kwargs, seed)
    run.train(steps)
    after = _outputs(run.model, args, kwargs, seed)
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
