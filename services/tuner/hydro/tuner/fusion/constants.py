"""What a traced module computes from constants alone: computed once, when its graph is lowered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.fx import Graph
from torch.utils import _pytree as pytree

from hydro.tuner.fusion.layout import Layout, Value

aten = torch.ops.aten

_FILLS: Mapping[OpOverload, float | None] = {
    aten.new_zeros.default: 0, aten.new_ones.default: 1, aten.new_full.default: None, aten.zeros_like.default: 0,
    aten.ones_like.default: 1, aten.full_like.default: None, aten.zero.default: 0, aten.fill.Scalar: None,
}  # fmt: skip
"""Ops that fill with a number: that one, or their last positional argument."""

_LARGEST = 1 << 22
"""Elements above which a constant is computed at every call rather than kept."""


class Constants:
    """The tensors whose values are known when a graph is lowered, kept as buffers of its module."""

    def __init__(self, graph: Graph) -> None:
        """Starts with none."""
        self.module = nn.Module()
        """What the graph reads them from."""
        self._graph = graph
        self._tensors: dict[Value, Tensor] = {}

    def know(self, value: Value, tensor: Tensor) -> None:
        """Tells the tensor of a value that the graph has already."""
        if _has_data(tensor):
            self._tensors[value] = tensor

    def fold(self, op: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any], example: Any) -> Any:
        """Gives what a call computes when all its operands are known, as values that the graph reads; else None.

        Args:
            op: An op that draws nothing.
            args: Its arguments, with a `Value` for every tensor.
            kwargs: Likewise.
            example: What it gives for one lane, without data.
        """
        if op in _FILLS:
            return self._fill(_FILLS[op], args, example)
        leaves = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Value)]
        if any(leaf not in self._tensors for leaf in leaves) or not self._is_on_hand(kwargs):
            return None
        given_args, given_kwargs = pytree.tree_map(
            lambda leaf: self._tensors[leaf] if isinstance(leaf, Value) else leaf, (args, dict(kwargs))
        )
        with torch.no_grad():
            outputs = op(*given_args, **given_kwargs)
        flat, spec = pytree.tree_flatten(outputs)
        if not all(isinstance(each, Tensor) and _has_data(each) and each.numel() <= _LARGEST for each in flat):
            return None
        return pytree.tree_unflatten([self._keep(each) for each in flat], spec)

    def _fill(self, number: float | None, args: tuple[Any, ...], example: Tensor) -> Value | None:
        """A tensor of one number, whose operand tells its type and device alone."""
        if example.numel() > _LARGEST or example.is_meta:
            return None
        filled = torch.full(example.shape, args[-1] if number is None else number, dtype=example.dtype,
                            device=example.device)  # fmt: skip
        return self._keep(filled) if _has_data(filled) else None

    def drop_unused(self) -> None:
        """Leaves only what the graph reads, each as a tensor of its own."""
        for node in self._graph.find_nodes(op="get_attr"):
            if node.users:
                setattr(self.module, node.target, getattr(self.module, node.target).clone())
            else:
                delattr(self.module, node.target)
                self._graph.erase_node(node)

    def _keep(self, tensor: Tensor) -> Value:
        name = f"constant_{len(self._tensors)}"
        self.module.register_buffer(name, tensor, persistent=False)
        value = Value(
            torch.empty_like(tensor, device="meta"), {Layout.SHARED: self._graph.create_node("get_attr", name)}
        )
        self._tensors[value] = tensor
        return value

    @staticmethod
    def _is_on_hand(kwargs: Mapping[str, Any]) -> bool:
        return str(kwargs.get("device") or "cpu") != "meta"


def _has_data(tensor: Tensor) -> bool:
    """Whether a tensor is a plain one, not a stand-in that has a shape alone."""
    return type(tensor) in (Tensor, nn.Parameter) and not tensor.is_meta
