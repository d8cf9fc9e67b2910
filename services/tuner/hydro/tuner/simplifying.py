"""Rids an exported graph of what only the exporter needs: blocks that run without gradients, assertions, dead calls."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import cast

import torch
from torch.fx import Graph, GraphModule, Node

_SET_GRAD_ENABLED = torch.ops.higher_order.wrap_with_set_grad_enabled
_ASSERTIONS = (
    torch.ops.aten._assert_tensor_metadata.default,
    torch.ops.aten._assert_async.msg,
    torch.ops.aten._assert_scalar.default,
)


def simplify(graph_module: GraphModule) -> None:
    """Inlines every `torch.no_grad()` block; drops assertions, and calls whose values nobody takes.

    The same values, gradients and random draws are left: what writes in place or draws stays.
    """
    graph = graph_module.graph
    for node in graph.find_nodes(op="call_function", target=_SET_GRAD_ENABLED):
        _inline(graph_module, node)
    for assertion in _ASSERTIONS:
        for node in graph.find_nodes(op="call_function", target=assertion):
            graph.erase_node(node)
    graph.eliminate_dead_code()


def _inline(graph_module: GraphModule, node: Node) -> None:
    graph = graph_module.graph
    enabled, block, *operands = node.args
    assert isinstance(block, Node)
    inner = cast("Graph", graph_module.get_submodule(str(block.target)).graph)
    results = _copy(graph, node, inner, cast("list[Node]", operands))
    if not enabled:
        results = [_detach(graph, node, each) for each in results]
    for user in list(node.users):
        # A block always gives a tuple, so that every user takes one of its results.
        assert user.target is operator.getitem
        user.replace_all_uses_with(results[cast("int", user.args[1])])
        graph.erase_node(user)
    graph.erase_node(node)
    if not block.users:
        graph.erase_node(block)


def _copy(graph: Graph, node: Node, inner: Graph, operands: Sequence[Node]) -> list[Node]:
    copies = dict(zip(inner.find_nodes(op="placeholder"), operands, strict=True))
    with graph.inserting_before(node):
        return cast("list[Node]", list(graph.graph_copy(inner, copies)))  # type: ignore[arg-type]


def _detach(graph: Graph, before: Node, node: Node) -> Node:
    with graph.inserting_before(before):
        detached = graph.call_function(torch.ops.aten.detach.default, (node,))
    detached.meta = dict(node.meta)
    return detached
