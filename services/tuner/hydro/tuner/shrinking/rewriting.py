"""From the target's exported graph to the surrogate's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule, Node

from hydro.tuner.ops.registry import bind
from hydro.tuner.shrinking.classification import contracted_ratio
from hydro.tuner.shrinking.depth import Stack, residual_branches
from hydro.tuner.shrinking.parametrization import Parametrization
from hydro.tuner.shrinking.propagation import Literal, Product, Propagation
from hydro.tuner.shrinking.sizes import Sizes

aten = torch.ops.aten


def rewrite(
    found: Propagation, sizes: Sizes, parametrization: Parametrization, stacks: Sequence[Stack] = ()
) -> GraphModule:
    """The same graph with the surrogate's sizes written into it, and the multipliers of width and depth.

    Raises:
        NotTraceable: a layer of a stack that was cut does something else than add to the stream.
    """
    graph = Graph()
    copies: dict[Node, Node] = {}
    output = graph.graph_copy(found.trace.graph, copies)
    graph.output(output)
    for literal in found.literals:
        _write_sizes(copies[literal.node], literal, sizes)
    for product in found.products:
        _keep_scale(graph, copies[product.node], product, found, sizes)
    _multiply_readouts(graph, copies, found, sizes, parametrization)
    for stack in stacks:
        for branch in residual_branches(found.trace, stack, stack.layers):
            addition = copies[branch.addition]
            added = next(each for each in addition.all_input_nodes if each is copies[branch.added])
            _multiply_input(graph, addition, added, stack.multiplier)
    return GraphModule(found.trace.program.graph_module, graph)


def set_argument(node: Node, name: str, value: object) -> None:
    """Sets an argument of a call by its name in the op's schema."""
    assert isinstance(node.target, OpOverload)
    for position, argument in enumerate(node.target._schema.arguments):
        if argument.name == name and position < len(node.args):
            node.update_arg(position, value)  # type: ignore[arg-type]
            return
    node.update_kwarg(name, value)  # type: ignore[arg-type]


def _write_sizes(node: Node, literal: Literal, sizes: Sizes) -> None:
    written = bind(node)[literal.argument]
    if isinstance(written, int):
        assert literal.dims[0] is not None
        set_argument(node, literal.argument, sizes.of(literal.dims[0]))
        return
    new = [old if dim is None else sizes.of(dim) for old, dim in zip(written, literal.dims, strict=True)]
    set_argument(node, literal.argument, new)


def _keep_scale(graph: Graph, node: Node, product: Product, found: Propagation, sizes: Sizes) -> None:
    """Logits of attention go with 1 / size, anchored at the target's own scale. Source: TP-V, definition 4.1."""
    ratio = sizes.ratio(product.contracted)
    if ratio == 1:
        return
    if product.scale_argument is None:
        _multiply_input(graph, node, node.all_input_nodes[0], 1 / ratio)
        return
    scale = bind(node)[product.scale_argument]
    anchor = found.dimensions.size(product.contracted) ** -0.5 if scale is None else scale
    set_argument(node, product.scale_argument, anchor / ratio)


def _multiply_readouts(
    graph: Graph, copies: Mapping[Node, Node], found: Propagation, sizes: Sizes, parametrization: Parametrization
) -> None:
    for use in found.uses:
        factor = parametrization.forward_multiplier(use.tensor, contracted_ratio(found, sizes, use))
        if factor != 1:
            activation = next(each for each in use.node.all_input_nodes if each not in found.origins)
            _multiply_input(graph, copies[use.node], copies[activation], factor)


def _multiply_input(graph: Graph, node: Node, activation: Node, factor: float) -> None:
    with graph.inserting_before(node):
        multiplied = graph.call_function(aten.mul.Tensor, (activation, factor))
    multiplied.meta = dict(activation.meta)
    node.replace_input_with(activation, multiplied)
