"""The last tier: a model that cannot be fused runs lane after lane, with the same tensors and the same result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from hydro.tuner.fusion.fallback import drawing_from
from hydro.tuner.fusion.report import FusionReport, OpRun, Tier


class SeparateProgram:
    """Calls the module once per lane on rows of the stacked tensors; called like `GroupedProgram`."""

    def __init__(self, modules: Sequence[nn.Module], training: bool, reason: str) -> None:
        """Takes one module per lane, or one for all of them, its mode, and why it is not fused."""
        self._modules = modules
        self._training = training
        run = OpRun(type(modules[0]).__name__, Tier.SEPARATE, "")
        self.report = FusionReport((run,), reason)

    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        inputs: Sequence[Any],
        *,
        lane_inputs: bool = False,
        generators: Sequence[torch.Generator] | None = None,
        keywords: Mapping[str, Any] | None = None,
    ) -> Any:
        """Runs the module for every lane; see `GroupedProgram`."""
        stacked = {**parameters, **buffers}
        given = (tuple(inputs), dict(keywords or {}))
        outputs = []
        for lane in range(len(next(iter(stacked.values())))):
            args, kwargs = pytree.tree_map(partial(_row, lane), given) if lane_inputs else given
            rows = {name: tensor[lane] for name, tensor in stacked.items()}
            module = self._modules[lane % len(self._modules)]
            stream = generators[lane] if generators is not None else None
            with drawing_from(stream), _in_mode(module, self._training):
                outputs.append(functional_call(module, rows, args, kwargs))
        return pytree.tree_map(lambda *each: torch.stack(each) if isinstance(each[0], Tensor) else each[0], *outputs)


def _row(lane: int, leaf: Any) -> Any:
    return leaf[lane] if isinstance(leaf, Tensor) else leaf


@contextmanager
def _in_mode(module: nn.Module, training: bool) -> Iterator[None]:
    modes = [(each, each.training) for each in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for each, mode in modes:
            each.training = mode
