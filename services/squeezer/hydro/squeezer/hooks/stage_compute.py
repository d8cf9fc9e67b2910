"""The real work of a replayed stage: forward and backward of a stack of layers on a microbatch, optimizer step."""

from __future__ import annotations

import time
from typing import Final

import torch
from torch import Tensor, nn

from hydro.squeezer.pipeline import Operation, OperationKind

_SIZES: Final = {"cpu": (192, 64), "cuda": (2048, 2048)}
"""Width of a layer and samples of a microbatch, by device: a fraction of a millisecond of work each."""
_TRIES: Final = 30
_CPU: Final = torch.device("cpu")


class StageCompute:
    """One stage's share of a model, trained for real on synthetic activations.

    Args:
        forward_seconds: about how long one microbatch's forward takes; the number of layers follows from it.
        layers: the number itself, in place of measuring.
        seed: of weights and data.
        device: where it computes; an operation has ended there when it returns.
    """

    def __init__(
        self, forward_seconds: float, layers: int | None = None, seed: int = 0, device: torch.device = _CPU
    ) -> None:
        torch.manual_seed(seed)
        self._device = device
        self._width, self._samples = _SIZES[device.type]
        self.layers = layers or max(1, round(forward_seconds / self._layer_seconds()))
        self._model = nn.Sequential(*(self._layer() for _ in range(self.layers)))
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=1e-2, momentum=0.9)
        self._activation = self._randn()
        self._target = self._randn()
        self._stashed: dict[int, Tensor] = {}
        self.checksum = 0.0

    def run(self, operation: Operation) -> None:
        """Computes one operation."""
        if operation.kind is OperationKind.FORWARD:
            samples = (self._activation * (1 + operation.microbatch)).requires_grad_()
            self._stashed[operation.microbatch] = self._model(samples)
        else:
            outputs = self._stashed.pop(operation.microbatch)
            torch.autograd.backward(outputs, (outputs.detach() - self._target) / self._samples)
            self.checksum = float(outputs.detach().sum())
        self._synchronize()

    def optimizer_step(self) -> None:
        """Updates the weights."""
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=False)
        self._synchronize()

    def measure(self, tries: int = 5) -> tuple[float, float]:
        """Gives the shortest seconds of a forward and of a backward."""
        forward, backward = Operation(OperationKind.FORWARD, 0), Operation(OperationKind.BACKWARD, 0)
        seconds = [(self._timed(forward), self._timed(backward)) for _ in range(tries)]
        self._optimizer.zero_grad(set_to_none=False)
        return min(each[0] for each in seconds), min(each[1] for each in seconds)

    def _timed(self, operation: Operation) -> float:
        start = time.perf_counter()
        self.run(operation)
        return time.perf_counter() - start

    def _layer_seconds(self) -> float:
        layer, samples = self._layer(), self._randn().requires_grad_()
        shortest = float("inf")
        for _ in range(_TRIES):
            start = time.perf_counter()
            layer(samples)
            self._synchronize()
            shortest = min(shortest, time.perf_counter() - start)
        return shortest

    def _layer(self) -> nn.Module:
        width = self._width
        return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU()).to(self._device)

    def _randn(self) -> Tensor:
        return torch.randn(self._samples, self._width).to(self._device)

    def _synchronize(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
