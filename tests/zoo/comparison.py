"""One train step of fused lanes against the models alone."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hydro.tuner.fusion.fallback import drawing_from
from hydro.tuner.fusion.fuse import GroupedModel, fuse
from hydro.tuner.fusion.report import FusionReport, Tier
from hydro.tuner.output_tree import open_output
from zoo.model import ZooModel

TOLERANCE = 1e-10
SMALLEST_SHARE = 0.9


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a fused model compares with its lanes alone."""

    report: FusionReport
    difference: float
    """The largest absolute one, of outputs, gradients and buffers; NaN when the model is not fused."""

    @property
    def why_not(self) -> str:
        """Why the model does not count as fused, "" when it does."""
        if self.report.count(Tier.SEPARATE):
            return self.report.reason
        if fused_share(self.report) < SMALLEST_SHARE:
            return f"{fused_share(self.report):.0%} of the op calls are grouped or vmapped:\n{self.report}"
        return "" if self.difference <= TOLERANCE else f"it differs by {self.difference:.1e} from models alone"


def fused_share(report: FusionReport) -> float:
    """Gives the part of the op calls, of those that differ among lanes, which are grouped or vmapped."""
    differing = [run for run in report.runs if run.tier is not Tier.SHARED]
    return sum(run.tier in (Tier.GROUPED, Tier.VMAPPED) for run in differing) / max(1, len(differing))


def compare(model: ZooModel, lanes: int = 2) -> Comparison:
    """Takes one step in train mode, in float64, fused and alone, with equal random streams."""
    given = model.inputs(torch.Generator().manual_seed(1))
    models = [_make(model, lane) for lane in range(lanes)]
    grouped = fuse(models, given)
    if grouped.report.count(Tier.SEPARATE):
        return Comparison(grouped.report, float("nan"))
    grouped.generators = [_stream(lane) for lane in range(lanes)]
    alone = [_step(each, given, _stream(lane)) for lane, each in enumerate(copy.deepcopy(models))]
    output = grouped(*given)
    output.loss.sum().backward()
    return Comparison(grouped.report, max(_differences(grouped, floats(output), alone)))


def floats(output: Any) -> list[Tensor]:
    """Gives an output's tensors of numbers, those in a cache too."""
    return [each for each in open_output(output)[0] if each.is_floating_point()]


def distance(one: Tensor, other: Tensor | None) -> float:
    """Gives the largest absolute difference; no tensor is one of zeros."""
    if other is None:
        other = torch.zeros_like(one)
    return float((one.detach().double() - other.detach().double()).abs().max()) if one.numel() else 0.0


@contextmanager
def one_thread() -> Iterator[None]:
    """Has torch use one thread, in which no sum depends on how it is cut."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _make(model: ZooModel, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return model.make().double()


def _stream(lane: int) -> torch.Generator:
    return torch.Generator().manual_seed(100 + lane)


def _step(model: nn.Module, given: tuple[Any, ...], stream: torch.Generator) -> tuple[nn.Module, list[Tensor]]:
    with drawing_from(stream):
        output = model(*given)
    output.loss.backward()
    return model, floats(output)


def _differences(
    grouped: GroupedModel, outputs: Sequence[Tensor], alone: Sequence[tuple[nn.Module, list[Tensor]]]
) -> Iterator[float]:
    for lane, (model, own) in enumerate(alone):
        yield from (distance(one[lane], other) for one, other in zip(outputs, own, strict=True))
        gradients = {name: each.grad for name, each in model.named_parameters()}
        for name, each in grouped.named_parameters():
            yield distance(torch.zeros_like(each[lane]) if each.grad is None else each.grad[lane], gradients[name])
        buffers = dict(model.named_buffers())
        yield from (distance(each[lane], buffers[name]) for name, each in grouped.named_buffers())
