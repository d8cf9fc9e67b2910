"""What a module keeps from one call to the next without having registered it: a trace would freeze it.

A cache that is filled once is none of that: a call's output does not depend on it.
"""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import Node
from torch.utils import _pytree as pytree

from hydro.tuner.output_tree import open_output

Attributes = Mapping[str, Any]
"""By the module's path and the attribute's name: what tells whether it changed."""

_MOST_ENTRIES = 256
_DEEPEST = 3
_OPAQUE = (type, FunctionType, BuiltinFunctionType, ModuleType, nn.Module)


@dataclass(frozen=True, slots=True, eq=False)
class _Held:
    """An object by its identity; it is kept, so that no other takes its place in memory."""

    value: Any
    version: int = 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and self.value is other.value and self.version == other.version

    __hash__ = None  # type: ignore[assignment]


def attributes(module: nn.Module, *, with_tensors: bool = True) -> Attributes:
    """Gives a mark of each attribute that is no parameter, buffer or submodule; marks differ where values changed."""
    return {
        f"{path}.{name}" if path else name: _mark(value, _DEEPEST if with_tensors else -_DEEPEST)
        for path, each in module.named_modules()
        for name, value in vars(each).items()
        if not name.startswith(("_parameters", "_buffers", "_modules", "_forward", "_backward")) and name != "forward"
    }


@contextmanager
def kept_tensors(module: nn.Module) -> Iterator[None]:
    """Undoes what is done meanwhile to tensors that modules hold unregistered: an export changes them in place."""
    leaves = (leaf for each in module.modules() for leaf in pytree.tree_leaves(vars(each)))
    registered = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
    held = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not leaf.is_meta and id(leaf) not in registered]
    before = [(tensor, tensor._version, tensor.detach().clone()) for tensor in held]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, version, value in before:
                if tensor._version != version:
                    tensor.copy_(value)


def changed(before: Attributes, after: Attributes) -> list[str]:
    """Gives the names of attributes that are new or have another mark."""
    missing = object()
    return [name for name, mark in after.items() if before.get(name, missing) != mark]


def random_states() -> tuple[Any, ...]:
    """Gives the states of Python's and NumPy's random numbers, neither of which a trace could draw anew."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return (random.getstate(),)
    kind, keys, *rest = numpy.random.get_state()
    return random.getstate(), kind, keys.tobytes(), *rest


def stateful_copy(module: nn.Module) -> nn.Module:
    """Copies a module with all that it keeps but parameters and buffers, which both then have in common."""
    common = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    return copy.deepcopy(module, common)


def state_that_matters(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], suspects: Sequence[str]
) -> list[str]:
    """Gives those of the suspects that make a call depend on the calls before it, found out on a copy.

    A number that grows with every call is taken to: what it is for may come later.
    """
    twin = stateful_copy(module)
    first = _call(twin, args, kwargs)
    before, marks = attributes(twin, with_tensors=False), attributes(twin)
    second = _call(twin, args, kwargs)
    counting = set(changed(before, attributes(twin, with_tensors=False)))
    moving = set(changed(marks, attributes(twin)))
    if all(map(_equal, first, second)):
        return [name for name in suspects if name in counting]
    return [name for name in suspects if name in moving] or list(suspects)


def changed_constant(nodes: Sequence[Node], constants: Mapping[str, Tensor]) -> Node | None:
    """Gives the first call that changes in place a tensor which the module holds without having registered it."""
    views = {node for node in nodes if node.name in constants}
    for node in nodes:
        schema = getattr(node.target, "_schema", None)
        if schema is None or not node.args or node.args[0] not in views:
            continue
        if schema.is_mutable:
            return node
        if schema.arguments[0].alias_info is not None:
            views.add(node)
    return None


def _call(module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tensors, _ = open_output(module(*args, **kwargs))
        for buffer, before in buffers:
            buffer.copy_(before)
    return [tensor.detach().clone() for tensor in tensors]


def _equal(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.is_meta or isinstance(one, FakeTensor):
        return one.shape == other.shape
    return torch.equal(one, other) or bool(((one == other) | (one.isnan() & other.isnan())).all())


def _mark(value: Any, depth: int) -> Any:
    """A negative depth leaves tensors out."""
    if isinstance(value, bool | int | float | str | type(None)):
        return value
    if isinstance(value, Tensor):
        return _Held(value, value._version) if depth > 0 else "tensor"
    is_opaque = isinstance(value, _OPAQUE) or (isinstance(value, Mapping) and not isinstance(value, dict))
    if depth == 0 or is_opaque:
        return _Held(value)
    below = depth - 1 if depth > 0 else depth + 1
    if isinstance(value, list | tuple | set | frozenset):
        return len(value), tuple(_mark(entry, below) for entry in islice(value, _MOST_ENTRIES))
    if not isinstance(value, dict) and not hasattr(value, "__dict__"):
        return _Held(value) if depth > 0 else type(value)
    named = value if isinstance(value, dict) else vars(value)
    entries = tuple((_mark(key, 0), _mark(each, below)) for key, each in islice(named.items(), _MOST_ENTRIES))
    return type(value), len(named), entries
