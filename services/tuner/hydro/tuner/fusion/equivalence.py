"""Checks that lanes do what their models do alone."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from hydro.tuner.fusion.fallback import drawing_from
from hydro.tuner.fusion.fuse import fuse


@dataclass(frozen=True, slots=True)
class Difference:
    """Largest absolute differences between lanes and separate models over one forward and backward pass."""

    output: float
    gradient: float
    buffer: float

    @property
    def largest(self) -> float:
        """The largest of the three."""
        return max(self.output, self.gradient, self.buffer)


def measure_difference(models: Sequence[nn.Module], inputs: tuple[Any, ...], seed: int = 0) -> Difference:
    """Runs copies of the models in float64, separately and fused, with equal random streams, and compares."""
    separate = [copy.deepcopy(model).double() for model in models]
    given = pytree.tree_map(lambda x: x.double() if isinstance(x, Tensor) and x.is_floating_point() else x, inputs)
    grouped = fuse(separate, given)
    grouped.generators = [torch.Generator().manual_seed(seed + lane) for lane in range(len(models))]
    alone = [_run(model, given, seed + lane) for lane, model in enumerate(separate)]
    together = _floats(grouped(*given))
    _sum(together).backward()  # type: ignore[no-untyped-call]
    return Difference(
        max(
            _distance(x[lane], y) for lane, outputs in enumerate(alone) for x, y in zip(together, outputs, strict=True)
        ),
        _largest_distance({name: p.grad for name, p in grouped.named_parameters()}, separate, _gradients),
        _largest_distance(dict(grouped.named_buffers()), separate, _buffers),
    )


def _run(model: nn.Module, inputs: tuple[Any, ...], seed: int) -> list[Tensor]:
    with drawing_from(torch.Generator().manual_seed(seed)):
        outputs = _floats(model(*inputs))
    _sum(outputs).backward()  # type: ignore[no-untyped-call]
    return outputs


def _floats(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _sum(outputs: Sequence[Tensor]) -> Tensor:
    # Squared, so that a normalized output has gradients that are not zero.
    return torch.stack([output.square().sum() for output in outputs]).sum()


def _gradients(model: nn.Module) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def _buffers(model: nn.Module) -> dict[str, Tensor | None]:
    return dict(model.named_buffers())


def _largest_distance(stacked: dict[str, Tensor | None], models: Sequence[nn.Module], read: Any) -> float:
    pairs = [(stacked[name], lane, tensor) for lane, model in enumerate(models) for name, tensor in read(model).items()]
    return max((_distance(rows[lane], tensor) for rows, lane, tensor in pairs if rows is not None), default=0.0)


def _distance(one: Tensor, other: Tensor | None) -> float:
    expected = torch.zeros_like(one) if other is None else other
    return float((one.detach().double() - expected.detach().double()).abs().max())
