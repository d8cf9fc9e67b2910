"""Compares the traces of several lanes: one structure, or not fusible; numbers that differ become per-lane vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Node
from torch.utils import _pytree as pytree

from hydro.tuner.fusion.not_fusible import NotFusible
from hydro.tuner.fusion.samples import Padding, SampleFlow
from hydro.tuner.ops.registry import bind
from hydro.tuner.tracing import Trace, location

_NUMBER_TYPES = {"float", "number", "Optional[float]", "Optional[number]"}


__all__ = ["NotFusible", "Structure", "call_arguments", "compare"]


@dataclass(frozen=True, slots=True)
class Structure:
    """What lanes have in common is a trace; this is what they do not."""

    numbers: Mapping[tuple[str, int], tuple[float, ...]] = field(default_factory=dict)
    """(node name, position among its flattened arguments) -> a number per lane."""
    constants: Mapping[str, tuple[Tensor, ...]] = field(default_factory=dict)
    """Placeholder name -> a tensor per lane."""
    padding: Padding | None = None
    """Set where the lanes' batches have different lengths."""

    def without_first(self) -> Structure:
        """Gives what the lanes but the first one do not have in common."""
        numbers = {key: values[1:] for key, values in self.numbers.items()}
        constants = {name: tensors[1:] for name, tensors in self.constants.items()}
        padding = self.padding and replace(self.padding, lengths=self.padding.lengths[1:])
        return Structure(numbers, constants, padding)

    def differs_like(self, other: Structure) -> bool:
        """Says whether lanes differ in the same places."""
        return self.numbers.keys() == other.numbers.keys() and self.constants.keys() == other.constants.keys()


def compare(traces: Sequence[Trace], lengths: Sequence[int] = ()) -> Structure:
    """Gives what differs among traces of one structure.

    Args:
        traces: One for each lane.
        lengths: The number of samples in each one's batch, where that differs; the first trace has the longest.

    Raises:
        NotFusible: They differ in more than numbers, or in the length of their batches and something mixes samples.
    """
    first = traces[0]
    flow = SampleFlow(lengths) if lengths else None
    numbers: dict[tuple[str, int], tuple[float, ...]] = {}
    columns = [list(trace.graph.nodes) for trace in traces]
    for lane, column in enumerate(columns):
        if len(column) != len(columns[0]):
            raise NotFusible(f"lane {lane} has {len(column)} op calls, lane 0 has {len(columns[0])}")
    order = [{node: index for index, node in enumerate(column)} for column in columns]
    for nodes in zip(*columns, strict=True):
        _require_same_call(nodes)
        if flow is None:
            _require_same_shapes(nodes)
        else:
            flow.visit(nodes, is_input=nodes[0].name in first.inputs)
        for position, values in enumerate(_arguments(nodes, order)):
            if flow is not None and flow.may_differ(nodes[0], values):
                continue
            if any(not _same(value, values[0]) for value in values):
                numbers[nodes[0].name, position] = _as_numbers(nodes[0], position, values)
    constants = {name: tuple(trace.constants[name] for trace in traces) for name in first.constants}
    differing = {name: each for name, each in constants.items() if any(not _same(one, each[0]) for one in each)}
    return Structure(numbers, differing, flow.padding(lengths) if flow else None)


def call_arguments(node: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Gives a node's arguments with the defaults spelled out, which a trace leaves out."""
    if not isinstance(node.target, OpOverload):
        return node.args, dict(node.kwargs)
    bound, schema = bind(node), node.target._schema.arguments
    named = {each.name: bound[each.name] for each in schema if each.kwarg_only}
    return tuple(bound[each.name] for each in schema if not each.kwarg_only), named


def _arguments(nodes: Sequence[Node], order: Sequence[Mapping[Node, int]]) -> list[tuple[Any, ...]]:
    lists = [
        [
            ("node", positions[leaf]) if isinstance(leaf, Node) else leaf
            for leaf in pytree.tree_leaves(call_arguments(node))
        ]
        for node, positions in zip(nodes, order, strict=True)
    ]
    if len({len(values) for values in lists}) > 1:
        raise _difference(nodes[0], "the number of arguments")
    return list(zip(*lists, strict=True))


def _require_same_call(nodes: Sequence[Node]) -> None:
    first = nodes[0]
    for node in nodes[1:]:
        if (node.op, node.target) != (first.op, first.target):
            raise _difference(first, f"the op ({first.target}, {node.target})")
        if _types(node) != _types(first):
            raise _difference(first, f"the type of its output ({_types(first)}, {_types(node)})")


def _require_same_shapes(nodes: Sequence[Node]) -> None:
    first = nodes[0]
    for node in nodes[1:]:
        if _shapes(node) != _shapes(first):
            raise _difference(first, f"the shape or type of its output ({_shapes(first)}, {_shapes(node)})")


def _shapes(node: Node) -> list[Any]:
    leaves = pytree.tree_leaves(node.meta.get("val"))
    return [(tuple(leaf.shape), leaf.dtype) for leaf in leaves if isinstance(leaf, Tensor)]


def _types(node: Node) -> list[torch.dtype]:
    return [leaf.dtype for leaf in pytree.tree_leaves(node.meta.get("val")) if isinstance(leaf, Tensor)]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and bool(one == other)


def _as_numbers(node: Node, position: int, values: Sequence[Any]) -> tuple[float, ...]:
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        raise _difference(node, f"an argument ({values[0]!r}, {next(v for v in values if not _same(v, values[0]))!r})")
    if not _takes_number(node, position):
        raise _difference(node, "a size or an axis")
    return tuple(float(value) for value in values)


def _takes_number(node: Node, position: int) -> bool:
    """Whether an argument is a quantity: a float or a scalar operand, not a size or an axis."""
    if not isinstance(node.target, OpOverload):
        return False
    args, kwargs = call_arguments(node)
    schema = node.target._schema.arguments
    values = (args[index] if index < len(args) else kwargs[each.name] for index, each in enumerate(schema))
    types = [str(each.type) for each, value in zip(schema, values, strict=True) for _ in pytree.tree_leaves(value)]
    # A Tensor argument that is given a Python number is a scalar operand: `x * 0.5`.
    return types[position] in _NUMBER_TYPES or types[position] == "Tensor"


def _difference(node: Node, what: str) -> NotFusible:
    where = location(node)
    return NotFusible(f"lanes differ at {node.target}{f' ({where})' if where else ''} in {what}")
