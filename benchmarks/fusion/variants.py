"""The ways to train many models at once: each is built for a number of models and then steps all of them.

Legend: G lanes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from benchmarks.fusion.vectorized_optimizers import vectorized_optimizer
from benchmarks.fusion.workloads import Batch
from hydro import optim as grouped_optim
from hydro.tuner.fusion.fuse import fuse

SGD, ADAMW = "SGD", "AdamW"


def learning_rates(optimizer: str, lanes: int) -> list[float]:
    """Gives each model its own, as in a search."""
    scale = 1e-2 if optimizer == SGD else 1e-3
    return [scale * (1 + lane / lanes) / 2 for lane in range(lanes)]


class Variant(Protocol):
    """Models in training."""

    def step(self) -> None:
        """Trains every model by one step."""

    def update(self) -> None:
        """Updates every model from the gradients of its last step."""


class Separate:
    """Models one after the other, each with torch's fastest optimizer."""

    def __init__(self, models: Sequence[nn.Module], batch: Batch, optimizer: str) -> None:
        self._models = [copy.deepcopy(model) for model in models]
        self._batch = batch
        self._optimizers = [
            _torch_optimizer(optimizer, model, lr)
            for model, lr in zip(self._models, learning_rates(optimizer, len(models)), strict=True)
        ]

    def step(self) -> None:
        for model, optimizer in zip(self._models, self._optimizers, strict=True):
            optimizer.zero_grad()
            model(*self._batch).backward()
            optimizer.step()

    def update(self) -> None:
        for optimizer in self._optimizers:
            optimizer.step()


class Vmapped:
    """The whole step under torch.func.vmap, and an optimizer over the stacked tensors."""

    def __init__(self, models: Sequence[nn.Module], batch: Batch, optimizer: str) -> None:
        skeleton = copy.deepcopy(models[0]).to("meta")
        self._parameters, self._buffers = stack_module_state(list(models))
        self._batch = batch

        def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], *inputs: Tensor) -> Tensor:
            value: Tensor = functional_call(skeleton, (parameters, buffers), inputs)
            return value

        self._gradients: Callable[..., Any] = vmap(
            grad_and_value(loss), in_dims=(0, 0, *(None for _ in batch)), randomness="different"
        )
        rates = torch.tensor(learning_rates(optimizer, len(models)), device=batch[0].device)
        self._tensors = [parameter.detach() for parameter in self._parameters.values()]
        self._parameters = dict(zip(self._parameters, self._tensors, strict=True))
        self._optimizer = vectorized_optimizer(optimizer, self._tensors, rates)
        self._last: list[Tensor] = []

    def step(self) -> None:
        gradients, _ = self._gradients(self._parameters, self._buffers, *self._batch)
        self._last = list(gradients.values())
        self._optimizer.step(self._last)

    def update(self) -> None:
        self._optimizer.step(self._last)


class Fused:
    """Ours: `hydro.tuner.fuse` and `hydro.optim`."""

    def __init__(self, models: Sequence[nn.Module], batch: Batch, optimizer: str, *, compiles: bool = False) -> None:
        self._model = fuse(models, batch).compile() if compiles else fuse(models, batch)
        self._batch = batch
        rates = learning_rates(optimizer, len(models))
        named = dict(self._model.named_parameters())
        self._optimizer: Any = (
            grouped_optim.SGD(named, lr=rates, momentum=0.9)
            if optimizer == SGD
            else grouped_optim.AdamW(named, lr=rates)
        )

    def step(self) -> None:
        self._optimizer.zero_grad()
        self._model(*self._batch).sum().backward()
        self._optimizer.step()

    def update(self) -> None:
        self._optimizer.step()

    @property
    def compilation(self) -> str:
        return self._model.compilation


class Several:
    """Variants that train a part of the models each, in turn."""

    def __init__(self, parts: Sequence[Variant]) -> None:
        self._parts = parts

    def step(self) -> None:
        for part in self._parts:
            part.step()

    def update(self) -> None:
        for part in self._parts:
            part.update()


Build = Callable[[Sequence[nn.Module], Batch, str], Variant]

VARIANTS: dict[str, Build] = {"separate": Separate, "vmap": Vmapped, "fused": Fused}


def _torch_optimizer(optimizer: str, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    if optimizer == SGD:
        return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, fused=True)
    return torch.optim.AdamW(model.parameters(), lr=lr, fused=True)
