"""What a shrunk model must do: run, give a gradient to whatever is used, say why whatever keeps its size does so."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hydro.tuner.output_tree import open_output
from hydro.tuner.shrinking.shrink import ShrunkModel
from hydro.tuner.shrinking.solution import TensorSolution


def one_step(model: nn.Module, inputs: tuple[Any, ...]) -> tuple[Tensor, dict[str, Tensor | None]]:
    """Gives the first output and the gradients; equal shapes draw equal random numbers."""
    torch.manual_seed(7)
    output = model(*inputs)
    leaves, _ = open_output(output)
    loss = getattr(output, "loss", None)
    if loss is None:
        loss = sum(each.square().mean() for each in leaves if each.requires_grad)
    loss.backward()
    return leaves[0].detach(), {name: each.grad for name, each in model.named_parameters()}


def without_gradient(shrunk: ShrunkModel, gradients: dict[str, Tensor | None]) -> list[str]:
    """The trained parameters that the model uses, and that got no gradient."""
    trained = {name for name, each in shrunk.model.named_parameters() if each.requires_grad}
    used = {each.name for each in shrunk.solution.tensors if not is_unused(each)}
    return [name for name, each in gradients.items() if each is None and name in trained & used]


def is_unused(tensor: TensorSolution) -> bool:
    """The model's computation does without it."""
    return any("not used" in why for why in tensor.kept)


def unexplained(shrunk: ShrunkModel) -> list[str]:
    """Axes that keep their size and do not say why."""
    return [
        f"axis {axis} of {each.name}"
        for each in shrunk.solution.tensors
        for axis, (size, before) in enumerate(zip(each.shape, each.target_shape, strict=True))
        if each.is_parameter and size >= before > 1 and not each.kept[axis]
    ]
