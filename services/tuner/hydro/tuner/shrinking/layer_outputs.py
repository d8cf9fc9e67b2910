"""What each layer of a surrogate gives: calls of its program with a matrix parameter, or modules that hold one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Interpreter, Node

from hydro.tuner.shrinking.programs import Program
from hydro.tuner.shrinking.shrunk_module import ShrunkModule


def layer_outputs(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], seed: int) -> dict[str, Tensor]:
    """The output of every layer, by the name of its weight; the same dropout masks for the same seed."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(model, ShrunkModule):
            return _of_program(model, args, kwargs)
        return _of_modules(copy.deepcopy(model), args, kwargs)


def _of_program(model: ShrunkModule, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
    program = model.program(*args, **kwargs)
    recorder = _Recorder(program)
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


def _of_modules(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Tensor]:
    """Of each such module, and of the whole model, which nothing else needs: its running averages move."""
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if isinstance(first, Tensor):
                outputs[name] = first.detach().clone()

        return hook

    for name, module in model.named_modules():
        if module is model or any(each.ndim > 1 for each in module.parameters(recurse=False)):
            module.register_forward_hook(keep(name or "the model"))
    model(*args, **kwargs)
    return outputs
