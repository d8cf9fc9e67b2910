"""Takes nested arguments apart as a trace nests them."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

_LEAVES = (Tensor, bool, int, float, str, type(None))


def flatten_as(tree: Any, spec: pytree.TreeSpec) -> list[Any]:
    """Gives the leaves of arguments that must be nested like `spec`.

    Tuples, lists and dicts are walked here, at a fraction of the time that pytree takes at each step of a training.

    Raises:
        ValueError: They are nested otherwise.
    """
    leaves: list[Any] = []
    if _walk(tree, spec, leaves):
        return leaves
    leaves, found = pytree.tree_flatten(tree)
    if found != spec:
        raise ValueError(f"the inputs are nested as {found}, the trace has {spec}")
    return leaves


def _walk(tree: Any, spec: pytree.TreeSpec, leaves: list[Any]) -> bool:
    """Collects the leaves, or gives up at what it does not know."""
    kind = spec.type
    if kind is None:
        leaves.append(tree)
        return isinstance(tree, _LEAVES)
    if type(tree) is not kind or len(tree) != spec.num_children:
        return False
    if kind is dict:
        return list(tree) == spec.context and _walk_all(tree.values(), spec, leaves)
    return kind in (tuple, list) and _walk_all(tree, spec, leaves)


def _walk_all(trees: Any, spec: pytree.TreeSpec, leaves: list[Any]) -> bool:
    return all(_walk(tree, child, leaves) for tree, child in zip(trees, spec.children(), strict=True))
