"""A model without its memory: what it takes to export it again for other input shapes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils import _pytree as pytree

from hydro.tuner.tracing import NotTraceable, Trace, trace


class Template:
    """The target on the meta device: no values, every shape."""

    def __init__(self, model: nn.Module) -> None:
        self._model = copy_with_tensors(model, lambda name, tensor: torch.empty_like(tensor, device="meta"))

    @property
    def model(self) -> nn.Module:
        """The model, on the meta device."""
        return self._model

    def trace(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], *, train: bool, like: Mapping[str, Tensor]
    ) -> Trace:
        """Exports the target for inputs like these, with the types and devices of the tensors in `like`.

        Raises:
            NotTraceable: with the user's line.
        """
        mode = FakeTensorMode(allow_non_fake_inputs=True)

        def fake(name: str, tensor: Tensor) -> Tensor:
            twin = like[name]
            dtype = twin.dtype if tensor.is_floating_point() else tensor.dtype
            device = "cpu" if twin.is_meta else twin.device
            with mode:
                return torch.empty_strided(tensor.shape, tensor.stride(), dtype=dtype, device=device)

        model = copy_with_tensors(self._model, fake)
        inputs, keywords = pytree.tree_map_only(Tensor, lambda each: mode.from_tensor(each.detach()), (args, kwargs))
        return trace(model, inputs, train=train, example_keywords=keywords)


def copy_with_tensors(model: nn.Module, new: Callable[[str, Tensor], Tensor]) -> nn.Module:
    """A copy of a model with other tensors in it; tied ones stay tied, everything that is no tensor is copied.

    Raises:
        NotTraceable: the model cannot be copied.
    """
    memo: dict[int, Any] = {}
    for name, parameter in model.named_parameters():
        memo[id(parameter)] = nn.Parameter(new(name, parameter.detach()), requires_grad=parameter.requires_grad)
    for name, buffer in model.named_buffers():
        memo[id(buffer)] = new(name, buffer.detach())
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise NotTraceable(f"the model cannot be copied: {error}") from error
