"""A model at any width by its own constructor: the shapes of a surrogate without solving for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from hydro.kit.errors import InvalidArgument
from hydro.tuner.tracing import tensor_aliases

Factory = Callable[[float], nn.Module]
"""Gives the model at a width in (0, 1]; the target at 1."""


class FactoryMismatch(InvalidArgument):
    """What a factory gives at a width is not the target, narrower."""

    default_reason = "FACTORY_MISMATCH"


def narrow_shapes(make: Factory, target: nn.Module, width: float) -> Mapping[str, tuple[int, ...]]:
    """The shapes of the factory's parameters and buffers at a width, found without memory where it allows that.

    Raises:
        FactoryMismatch: names, ties or numbers of axes differ from the target's, or an axis that moves goes by another
            ratio than the width.
    """
    narrow = _on_meta(make, width)
    if tensor_aliases(narrow) != tensor_aliases(target):
        differing = ", ".join(sorted({*tensor_aliases(target)} ^ {*tensor_aliases(narrow)})[:5])
        differing = differing or "other ones are tied"
        raise FactoryMismatch(f"the factory gives other parameters at width {width:g} than at 1: {differing}")
    before, after = _shapes(target), _shapes(narrow)
    for name, shape in after.items():
        _compare(name, before[name], shape, width)
    return after


def _on_meta(make: Factory, width: float) -> nn.Module:
    try:
        with torch.device("meta"):
            return make(width)
    except (RuntimeError, NotImplementedError):
        # A constructor that looks at values cannot run without them.
        return make(width)


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(each.shape) for name, each in [*model.named_parameters(), *model.named_buffers()]}


def _compare(name: str, before: tuple[int, ...], after: tuple[int, ...], width: float) -> None:
    if len(before) != len(after):
        raise FactoryMismatch(f"{name} has {len(before)} axes at width 1 and {len(after)} at width {width:g}")
    for axis, (size, narrow) in enumerate(zip(before, after, strict=True)):
        if narrow != size and abs(narrow - size * width) >= 1:
            raise FactoryMismatch(
                f"axis {axis} of {name} goes from {size} to {narrow}, which is not {width:g} times as many"
            )
