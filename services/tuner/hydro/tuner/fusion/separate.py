"""The last tier: a model that cannot be fused runs lane after lane, with the same tensors and the same result."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils import _pytree as pytree

from hydro.tuner.fusion.fallback import drawing_from, lane_rows
from hydro.tuner.fusion.report import FusionReport, OpRun, Tier
from hydro.tuner.output_tree import open_output


class SeparateProgram:
    """Calls the module once per lane on rows of the stacked tensors; called like `GroupedProgram`."""

    def __init__(self, modules: Sequence[nn.Module], training: bool, reason: str, shared: Collection[str] = ()) -> None:
        """Takes one module per lane, or one for all of them, its mode, why it is not fused, and what lanes share."""
        self._modules = modules
        self._shared = frozenset(shared)
        self._training = training
        run = OpRun(type(modules[0]).__name__, Tier.SEPARATE, "")
        self.report = FusionReport((run,), reason)
        self.compilation = ""
        """See `GroupedProgram`."""

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
        own = {name: lane_rows(tensor) for name, tensor in parameters.items() if name not in self._shared}
        common = {name: tensor for name, tensor in parameters.items() if name in self._shared}
        given = (tuple(inputs), dict(keywords or {}))
        outputs = []
        for lane in range(self._lanes(own, buffers, inputs if lane_inputs else ())):
            args, kwargs = pytree.tree_map(partial(_row, lane), given) if lane_inputs else given
            rows = {name: each[lane] for name, each in own.items()} | common
            # Views, so that what the module writes into its buffers stays.
            rows |= {name: tensor[lane] for name, tensor in buffers.items()}
            module = self._modules[lane % len(self._modules)]
            stream = generators[lane] if generators is not None else None
            with drawing_from(stream), _in_mode(module, self._training):
                outputs.append(open_output(functional_call(module, rows, args, kwargs)))
        stacked_outputs = [torch.stack(each) for each in zip(*(tensors for tensors, _ in outputs), strict=True)]
        return outputs[0][1].rebuild(stacked_outputs)

    @staticmethod
    def _lanes(parameters: Mapping[str, Sequence[Tensor]], buffers: Mapping[str, Tensor], inputs: Any) -> int:
        for stacked in (*parameters.values(), *buffers.values(), *pytree.tree_leaves(inputs)):
            return len(stacked)
        raise ValueError("nothing tells the number of lanes: the model has no parameters, and the inputs are shared")


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
