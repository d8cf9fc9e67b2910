"""What a model is called with, and what of it a trace depends on."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class GivenInputs:
    """Arguments of a call."""

    args: tuple[Any, ...]
    keywords: Mapping[str, Any]
    lanes: int | None = None
    """How many lanes the tensors are given for, each [G, ...]; None where lanes share them."""

    @cached_property
    def form(self) -> Hashable:
        """What calls that one trace stands for have in common.

        The nesting, one lane's shapes and types of tensors, and Python values, which a trace takes for constants.

        Raises:
            ValueError: A tensor has not the axis of the lanes.
        """
        args = tuple(self._form(each) for each in self.args)
        return args, tuple((name, self._form(each)) for name, each in self.keywords.items())

    def of_one_lane(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Gives the arguments that one model alone would be called with."""
        given = self.args, dict(self.keywords)
        return given if self.lanes is None else pytree.tree_map_only(Tensor, lambda tensor: tensor[0], given)

    def _form(self, tree: Any) -> Hashable:
        # At each step of a training: pytree takes ten times as long over plain tuples and dicts.
        if isinstance(tree, Tensor):
            return self._shape(tree), tree.dtype
        kind = type(tree)
        if kind in (tuple, list):
            return kind, tuple(self._form(each) for each in tree)
        if kind is dict:
            return kind, tuple((name, self._form(each)) for name, each in tree.items())
        leaves, spec = pytree.tree_flatten(tree)
        if not spec.is_leaf():
            return str(spec), tuple(self._form(each) for each in leaves)
        return kind, tree if isinstance(tree, Hashable) else None

    def _shape(self, tensor: Tensor) -> Hashable:
        if self.lanes is None:
            return tensor.shape
        if tensor.ndim == 0 or len(tensor) != self.lanes:
            position = next(
                i for i, leaf in enumerate(pytree.tree_leaves((self.args, self.keywords))) if leaf is tensor
            )
            raise ValueError(
                f"input {position} has shape {tuple(tensor.shape)}: with lane_inputs its first axis is the lanes, of"
                f" which there are {self.lanes}"
            )
        return tensor.shape[1:]
