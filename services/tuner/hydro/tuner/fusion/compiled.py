"""A grouped graph by way of torch.compile, at fusion counts that are few.

Lanes are padded with inert ones to the next power of two, so that lanes which come and go within one compile nothing
again. A graph that draws random numbers stays as it was emitted: compiled code takes them from a stream of its own,
which is none of the lanes'.

Legend: G lanes, B lanes and inert ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule

COMPILED = "compiled"
"""How a program runs, in words, where it runs compiled."""

_CPU_OPTIONS = {"compile_threads": 1}
"""In this process: a pool of compilers outlives what it was started for."""


def bucket(lanes: int) -> int:
    """Gives the fusion count at which so many lanes run compiled: the next power of two."""
    return 1 << (lanes - 1).bit_length()


class CompiledGraph:
    """Runs an emitted graph compiled, or as it is where it cannot be: `reason` then says why."""

    def __init__(self, module: GraphModule, stacked: Sequence[bool], buffers: range, *, draws: bool) -> None:
        """Compiles nothing yet: that happens at the first call of each bucket.

        Args:
            module: The emitted graph.
            stacked: For each tensor that it takes, whether that is [G, ...].
            buffers: Which of them it changes in place.
            draws: Whether it takes random numbers.
        """
        self.reason = "it draws random numbers" if draws else ""
        self._module = module
        self._stacked = tuple(stacked)
        self._buffers = buffers
        self._forms: dict[str, Callable[..., Sequence[Any]]] = {}

    def __call__(self, tensors: Sequence[Any], lanes: int, generators: Sequence[torch.Generator] | None) -> Any:
        """Runs it for G lanes; gradients flow back to them, and their buffers are updated in place."""
        if self.reason:
            return self._module.forward(*tensors, lanes, generators)
        count = bucket(lanes)
        padded = [
            _padded(each, count) if is_stacked and isinstance(each, Tensor) else each
            for each, is_stacked in zip(tensors, self._stacked, strict=True)
        ]
        try:
            outputs = self._form(padded)(*padded, count, None)
        except torch._dynamo.exc.TorchDynamoException as error:
            # Raised before any of it has run, since the graph is compiled whole or not at all.
            self.reason = f"torch.compile fails: {str(error).strip().splitlines()[0]}"
            return self._module.forward(*tensors, lanes, generators)
        if count > lanes:
            self._put_buffers(tensors, padded, lanes)
        return [each[:lanes] if isinstance(each, Tensor) else each for each in outputs]

    def _form(self, tensors: Sequence[Any]) -> Callable[..., Sequence[Any]]:
        """Made once for each kind of device; each bucket is compiled in it at its first call."""
        device = next(each.device.type for each in tensors if isinstance(each, Tensor))
        if device not in self._forms:
            given: dict[str, Any] = {"options": _CPU_OPTIONS} if device == "cpu" else {"mode": "reduce-overhead"}
            self._forms[device] = torch.compile(self._module.forward, fullgraph=True, dynamic=False, **given)
        if device == "cuda":
            # A captured graph writes a step's results over those of the step before.
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        return self._forms[device]

    @torch.no_grad()
    def _put_buffers(self, tensors: Sequence[Any], padded: Sequence[Any], lanes: int) -> None:
        for index in self._buffers:
            if self._stacked[index]:
                tensors[index].copy_(padded[index][:lanes])


def _padded(x_G: Tensor, count: int) -> Tensor:
    """Gives [B, ...], inert lanes zero; never the leaf itself, whose class would tell full buckets from padded ones."""
    if len(x_G) == count:
        return x_G.view_as(x_G)
    # Fresh zeros need no gradient, and whatever comes out of them is cut off before it meets a lane.
    return torch.cat([x_G, x_G.new_zeros(count - len(x_G), *x_G.shape[1:])])
