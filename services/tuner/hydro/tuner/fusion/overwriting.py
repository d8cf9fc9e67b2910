"""Elementwise ops of a grouped graph that write over an operand which nothing else reads.

Bit for bit the same with less memory to go through: batch norm, addition and ReLU of a residual net are bound by that.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx import Graph, Node

from hydro.nn import functional as grouped

aten = torch.ops.aten


def overwrite_operands(graph: Graph) -> None:
    """Rewrites additions and ReLUs in place where their operand is new, unread by others, and not kept for backward."""
    for node in graph.nodes:
        if node.target is aten.relu.default and _is_free(node.args[0]):
            node.target = aten.relu_.default
        elif node.target is aten.add.Tensor and not node.kwargs:
            _overwrite_a_summand(node)


def add_over(free: Tensor, other: Tensor) -> Tensor:
    """Gives the sum; in the memory of `free` where the sum has its form."""
    if free.shape != other.shape or free.dtype is not other.dtype:
        return free + other
    return free.add_(other)


def _overwrite_a_summand(node: Node) -> None:
    one, other = node.args
    if not isinstance(one, Node) or not isinstance(other, Node) or one is other:
        return
    if _is_free(one):
        node.target = add_over
    elif _is_free(other):
        node.target, node.args = add_over, (other, one)


def _is_free(operand: object) -> bool:
    # What these give is no view, and their own backward does without it.
    givers = (grouped.batch_norm, aten.add.Tensor, add_over)
    return isinstance(operand, Node) and operand.target in givers and len(operand.users) == 1
