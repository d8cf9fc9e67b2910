"""The configuration of a transformers model as a factory of the model at any width."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from hydro.kit.errors import FieldViolation, InvalidArgument
from hydro.tuner.shrinking.factory import Factory

_HEAD_COUNT = re.compile(r"(^|_)heads?$")


def config_factory(model: nn.Module) -> Factory:
    """Gives a factory of a model that is built from a `config`, as those of transformers are.

    The numbers that are widths are found by trying each: one whose double moves both what layers give and what layers
    take is a width (`hidden_size`, `intermediate_size`), as no vocabulary, number of positions or of classes is.
    Numbers of heads go with them, by their names, and so the size of a head stays.

    Raises:
        InvalidArgument: the model has no such configuration, or nothing in it is a width.
    """
    config = getattr(model, "config", None)
    if not hasattr(config, "to_dict"):
        raise _wrong(f"{type(model).__name__} has no `config` to build it from: give a function of the width")
    build = type(model)
    names = _widths(build, config)
    if not names:
        raise _wrong(f"no number in the configuration of {build.__name__} is a width")

    def make(width: float) -> nn.Module:
        return build(_scaled(config, names, width))

    return make


def _widths(build: type[nn.Module], config: Any) -> tuple[str, ...]:
    target = _shapes(build, config)
    sizes = {name for name in _numbers(config) if not _HEAD_COUNT.search(name) and "head" not in name}
    widths = [name for name in sorted(sizes) if _is_width(build, config, name, target)]
    return (*widths, *(name for name in _numbers(config) if _HEAD_COUNT.search(name))) if widths else ()


def _is_width(build: type[nn.Module], config: Any, name: str, target: dict[str, torch.Size]) -> bool:
    try:
        other = _shapes(build, _scaled(config, (name,), 2))
    except Exception:  # noqa: BLE001 - a constructor may refuse a number by any error: then it is none to change alone
        return False
    if other.keys() != target.keys() or any(len(other[key]) != len(target[key]) for key in target):
        return False
    moved = [
        axis
        for key, shape in target.items()
        for axis, (one, two) in enumerate(zip(shape, other[key], strict=True))
        if len(shape) > 1 and one != two
    ]
    return 0 in moved and any(axis > 0 for axis in moved)


def _numbers(config: Any) -> Iterator[str]:
    for name, value in vars(config).items():
        if isinstance(value, int) and not isinstance(value, bool) and value > 1 and not name.startswith("_"):
            yield name


def _scaled(config: Any, names: tuple[str, ...], width: float) -> Any:
    scaled = copy.deepcopy(config)
    for name in names:
        value = getattr(config, name) * width
        if value != round(value) or value < 1:
            raise _wrong(f"{name} is {getattr(config, name)}, of which {width:g} is no whole number")
        setattr(scaled, name, round(value))
    return scaled


def _shapes(build: type[nn.Module], config: Any) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: each.shape for name, each in build(config).named_parameters()}


def _wrong(description: str) -> InvalidArgument:
    return InvalidArgument.of([FieldViolation("factory", description)])
