"""The rules of the ops' rooms, by ATen overload.

A room registers a rule by decorator when it is imported; `dimension_rules()` and `lane_rules()` import every room
first.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from torch._ops import OpOverload
from torch.fx import Node

import hydro.tuner.ops as rooms

if TYPE_CHECKING:
    from hydro.tuner.shrinking.dimensions import Dims
    from hydro.tuner.shrinking.propagation import Call

    DimensionRule = Callable[[Call], "Dims | tuple[Dims, ...]"]
    """What an op does to dimensions: joins what must stay equal, gives the dimensions of its output or outputs."""

_Rule = TypeVar("_Rule", bound=Callable[..., Any])

_dimension_rules: dict[OpOverload, Callable[..., Any]] = {}
_lane_rules: dict[OpOverload, Callable[..., Any]] = {}
_sample_rules: dict[OpOverload, Callable[..., Any]] = {}


def dimension_rule(*ops: OpOverload) -> Callable[[_Rule], _Rule]:
    """Registers what ops do to dimensions; a second rule for an op is an error."""
    return _registering(_dimension_rules, ops)


def lane_rule(*ops: OpOverload) -> Callable[[_Rule], _Rule]:
    """Registers how ops run over lanes; a second rule for an op is an error."""
    return _registering(_lane_rules, ops)


def sample_rule(*ops: OpOverload) -> Callable[[_Rule], _Rule]:
    """Registers where ops have the samples of their output, if each comes from the same sample of the inputs alone."""
    return _registering(_sample_rules, ops)


def takes_numbers(rule: _Rule) -> _Rule:
    """Marks a lane rule that accepts a vector over lanes where the op has a Python number."""
    vars(rule)["takes_numbers"] = True
    return rule


def dimension_rules() -> Mapping[OpOverload, Callable[..., Any]]:
    """The dimension rules of all rooms."""
    _import_rooms()
    return _dimension_rules


def lane_rules() -> Mapping[OpOverload, Callable[..., Any]]:
    """The lane rules of all rooms."""
    _import_rooms()
    return _lane_rules


def sample_rules() -> Mapping[OpOverload, Callable[..., Any]]:
    """The sample rules of all rooms."""
    _import_rooms()
    return _sample_rules


def bind(node: Node) -> dict[str, Any]:
    """A node's arguments by the names in its op's schema, defaults filled in."""
    target = node.target
    if not isinstance(target, OpOverload):
        raise TypeError(f"{node.name} calls {target}, which is no ATen op")
    bound: dict[str, Any] = {}
    for position, argument in enumerate(target._schema.arguments):
        if position < len(node.args) and not argument.kwarg_only:
            bound[argument.name] = node.args[position]
        elif argument.name in node.kwargs:
            bound[argument.name] = node.kwargs[argument.name]
        else:
            bound[argument.name] = argument.default_value
    return bound


def _registering(rules: dict[OpOverload, Callable[..., Any]], ops: tuple[OpOverload, ...]) -> Callable[[_Rule], _Rule]:
    def register(rule: _Rule) -> _Rule:
        for op in ops:
            if op in rules:
                raise ValueError(f"{op} has a rule already: {rules[op].__module__}.{rules[op].__name__}")
            rules[op] = rule
        return rule

    return register


@cache
def _import_rooms() -> None:
    for room in pkgutil.iter_modules(rooms.__path__, rooms.__name__ + "."):
        import_module(room.name)
