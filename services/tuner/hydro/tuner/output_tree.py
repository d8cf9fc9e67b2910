"""What a module gives, as a list of tensors and what rebuilds the rest around others in their place.

Containers, and the classes that pytree knows, are opened by it. Any other object that holds tensors (a cache of keys
and values, say) is kept as its pickle without them: the tensors may be anything that stands for one.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

_PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device, torch.layout)


@dataclass(frozen=True, slots=True)
class OutputTree:
    """A module's output without its tensors."""

    spec: pytree.TreeSpec
    leaves: tuple[Any, ...]
    """One for each leaf: `TENSOR`, an `_Object`, or what the leaf is."""

    @property
    def has_objects(self) -> bool:
        """Whether something in it is opened here and not by pytree."""
        return any(isinstance(leaf, _Object) for leaf in self.leaves)

    def rebuild(self, tensors: Sequence[Any]) -> Any:
        """Gives an output like the one that was opened, with these tensors in place of its own, in order."""
        waiting = list(tensors)[::-1]
        return pytree.tree_unflatten([_closed(leaf, waiting) for leaf in self.leaves], self.spec)


class _Tensor:
    """Where a tensor is."""


TENSOR = _Tensor()


@dataclass(frozen=True, slots=True)
class _Object:
    pickled: bytes
    count: int


def open_output(output: Any) -> tuple[list[Tensor], OutputTree]:
    """Takes an output apart.

    Raises:
        pickle.PicklingError: Something in it is no container, holds tensors, and cannot be pickled without them.
    """
    flat, spec = pytree.tree_flatten(output)
    tensors: list[Tensor] = []
    leaves = tuple(_opened(leaf, tensors) for leaf in flat)
    return tensors, OutputTree(spec, leaves)


def _opened(leaf: Any, tensors: list[Tensor]) -> Any:
    if isinstance(leaf, Tensor):
        tensors.append(leaf)
        return TENSOR
    if isinstance(leaf, _PLAIN) or callable(leaf):
        return leaf
    before, buffer = len(tensors), io.BytesIO()
    _Pickler(buffer, tensors).dump(leaf)
    return _Object(buffer.getvalue(), len(tensors) - before) if len(tensors) > before else leaf


def _closed(leaf: Any, waiting: list[Any]) -> Any:
    if leaf is TENSOR:
        return waiting.pop()
    if not isinstance(leaf, _Object):
        return leaf
    own = [waiting.pop() for _ in range(leaf.count)]
    return _Unpickler(io.BytesIO(leaf.pickled), own).load()


class _Pickler(pickle.Pickler):
    """Leaves tensors out."""

    def __init__(self, buffer: io.BytesIO, tensors: list[Tensor]) -> None:
        super().__init__(buffer)
        self._tensors, self._first = tensors, len(tensors)

    def persistent_id(self, obj: Any) -> int | None:
        """Gives a tensor's place, and None for what is pickled."""
        if not isinstance(obj, Tensor):
            return None
        self._tensors.append(obj)
        return len(self._tensors) - 1 - self._first


class _Unpickler(pickle.Unpickler):
    """Puts others in their place. What it reads was pickled by this process."""

    def __init__(self, buffer: io.BytesIO, tensors: Sequence[Any]) -> None:
        super().__init__(buffer)
        self._tensors = tensors

    def persistent_load(self, pid: Any) -> Any:
        """Gives the tensor at a place."""
        return self._tensors[pid]
