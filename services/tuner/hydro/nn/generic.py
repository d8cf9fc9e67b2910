"""Twins of modules whose form over lanes follows from torch's own.

Legend: G lanes, N batch.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hydro.nn import functional
from hydro.nn.lane_module import LaneModule


class SampleWise(nn.Module):
    """A module without tensors that treats each sample by itself: lanes are more samples."""

    twin_of: ClassVar[type[nn.Module]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes the arguments of torch's class."""
        super().__init__()
        self.module = self.twin_of(*args, **kwargs)

    def forward(self, input: Tensor) -> Any:
        """Merges lanes into the batch and takes them out again.

        Shape: [G, N, ...].
        """
        lanes = input.shape[:2]
        output = self.module(input.flatten(0, 1))
        if isinstance(output, tuple):
            return tuple(each.unflatten(0, lanes) for each in output)
        return output.unflatten(0, lanes)


class Vmapped(LaneModule):
    """A module that `torch.vmap` runs over lanes."""

    def forward(self, *inputs: Tensor) -> Any:
        """Runs torch's forward, vmapped.

        Shape: [G, ...] each.
        """
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        template = self._template[0].train(self.training)

        def run(own: dict[str, Tensor], *given: Tensor) -> Any:
            return functional_call(template, own, given)

        if tensors:
            return torch.vmap(run)(tensors, *inputs)
        return torch.vmap(lambda *given: template(*given))(*inputs)


class Loss(nn.Module):
    """A loss of each lane by itself: with reduction "mean" or "sum" it gives [G]."""

    twin_of: ClassVar[type[nn.Module]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Takes the arguments of torch's class; a tensor among them is the same for all lanes."""
        super().__init__()
        self.module = self.twin_of(*args, **kwargs)

    def forward(self, input: Tensor, *targets: Tensor) -> Tensor:
        """Compares each lane's input with its target.

        Shape: [G, ...] each; a target that lanes share is given as `share(target, lanes)`.
        """
        losses: Tensor = torch.vmap(self.module)(input, *targets)
        return losses


class CrossEntropyLoss(Loss):
    """torch.nn.CrossEntropyLoss over lanes."""

    twin_of = nn.CrossEntropyLoss

    def forward(self, input: Tensor, *targets: Tensor) -> Tensor:
        """Compares each lane's logits with its classes, or with its probabilities.

        Shape: input [G, N, C, ...]; target [G, N, ...], or [G, N, C, ...].
        """
        (target,), own = targets, self.module
        if own.weight is not None or target.is_floating_point():
            return torch.stack([own(x, y) for x, y in zip(input, target, strict=True)])
        return functional.cross_entropy(input, target, own.reduction, own.ignore_index, own.label_smoothing)


def sample_wise(plain: type[nn.Module]) -> type[SampleWise]:
    """Makes the twin of a module without tensors that treats each sample by itself."""
    twin: type[SampleWise] = _twin(SampleWise, plain)
    return twin


def vmapped(plain: type[nn.Module]) -> type[Vmapped]:
    """Makes the twin of a module that `torch.vmap` can run."""
    twin: type[Vmapped] = _twin(Vmapped, plain)
    return twin


def loss(plain: type[nn.Module]) -> type[Loss]:
    """Makes the twin of a loss."""
    twin: type[Loss] = _twin(Loss, plain)
    return twin


def _twin(frame: Any, plain: type[nn.Module]) -> Any:
    doc = f"torch.nn.{plain.__name__} over lanes. {frame.__doc__}"
    return type(plain.__name__, (frame,), {"twin_of": plain, "__doc__": doc, "__module__": "hydro.nn"})
