"""Runs the ops' dimension rules over an exported graph."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Node

from hydro.tuner.ops.registry import bind, dimension_rules
from hydro.tuner.shrinking.dimensions import Dim, DimensionMismatch, Dimensions, Dims
from hydro.tuner.shrinking.results import results
from hydro.tuner.tracing import NotTraceable, Trace, location

Value = Dims | tuple[Dims, ...]
"""The dimensions of a tensor, or of each of several."""


@dataclass(frozen=True, slots=True)
class Literal:
    """Sizes written into a call: `dims` has one entry per number, None for one that stays as it is."""

    node: Node
    argument: str
    dims: tuple[Dim | None, ...]


@dataclass(frozen=True, slots=True)
class Use:
    """A parameter at work: the dimension it is contracted over, `()` where it only multiplies, adds or is looked up."""

    tensor: str
    node: Node
    operand: Node
    contracted: Dim


@dataclass(frozen=True, slots=True)
class Product:
    """Activations contracted with activations over a dimension: attention's logits, above all."""

    node: Node
    contracted: Dim
    scale_argument: str | None
    """The op's own scale, None when the output is scaled."""


@dataclass(frozen=True, slots=True)
class UnknownOp:
    """An op without a rule, or in a form that its rule does not fit: what it touches keeps its size."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(slots=True)
class Propagation:
    """What the rules found in one graph."""

    trace: Trace
    dimensions: Dimensions = field(default_factory=Dimensions)
    tensors: dict[str, Dims] = field(default_factory=dict)
    """Parameters and buffers, tied ones under their first name."""
    values: dict[Node, Value] = field(default_factory=dict)
    literals: list[Literal] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    unknown: list[UnknownOp] = field(default_factory=list)
    origins: dict[Node, frozenset[str]] = field(default_factory=dict)
    """Nodes that depend on no input: the parameters they are made of."""

    @property
    def parameters(self) -> dict[str, Dims]:
        """The parameters among the tensors: what shrinks."""
        names = {self.trace.aliases.get(name, name) for name in self.trace.parameters.values()}
        return {name: dims for name, dims in self.tensors.items() if name in names}

    @property
    def blocking(self) -> tuple[UnknownOp, ...]:
        """The unknown ops but for which a parameter would shrink: nothing else keeps the size of one of its axes."""
        reasons = {str(each): each for each in self.unknown}
        pins = (set(self.dimensions.pins(dim)) for dims in self.parameters.values() for dim in dims)
        alone = {pin for held in pins if held <= reasons.keys() for pin in held}
        return tuple(each for reason, each in reasons.items() if reason in alone)


class Call:
    """One call in the graph, as a dimension rule sees it: arguments by name, dimensions of tensors."""

    def __init__(self, node: Node, propagation: Propagation) -> None:
        self.node = node
        self.arguments = bind(node)
        self.dimensions = propagation.dimensions
        self._propagation = propagation
        self.contractions: dict[Node, Dim] = {}

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    @property
    def reason(self) -> str:
        """How a pin names this call."""
        return place(self.node)

    @property
    def shape(self) -> tuple[int, ...]:
        """The output's shape."""
        return tuple(int(size) for size in self.node.meta["val"].shape)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each output."""
        return tuple(tuple(int(size) for size in each.shape) for each in self.node.meta["val"])

    def is_given(self, name: str) -> bool:
        """The argument is a tensor."""
        return isinstance(self.arguments[name], Node)

    def dims(self, name: str) -> Dims:
        """The dimensions of a tensor argument."""
        return self.dims_of(self.arguments[name])

    def dims_of(self, node: Node) -> Dims:
        """The dimensions of a node that gives one tensor."""
        return self._propagation.values[node]  # type: ignore[return-value]

    def operands(self) -> list[Node]:
        """Every tensor among the arguments."""
        return [each for each in self.node.all_input_nodes if each in self._propagation.values]

    def axis(self, name: str, rank: int) -> int:
        """An axis argument, counted from the front."""
        return int(self.arguments[name]) % max(rank, 1)

    def axes(self, name: str, rank: int) -> list[int]:
        """An argument of several axes, counted from the front; all axes when it is None or empty."""
        given = self.arguments[name]
        if given is None or given == []:
            return list(range(rank))
        return [int(axis) % rank for axis in (given if isinstance(given, Sequence) else [given])]

    def new(self, size: int, *, pinned: bool = False) -> Dim:
        """A dimension of the output that no operand has."""
        return self.dimensions.new(size, self.reason if pinned else None)

    def pin(self, *dims: Dim) -> None:
        """Keeps sizes, because of this op."""
        for dim in dims:
            self.dimensions.pin(dim, self.reason)

    def unify(self, one: Dim, other: Dim) -> None:
        """Makes two dimensions equal."""
        self.dimensions.unify(one, other)

    def size(self, dim: Dim) -> int:
        """A dimension's size."""
        return self.dimensions.size(dim)

    def rewrite(self, argument: str, *dims: Dim | None) -> None:
        """Says which dimensions the numbers of an argument are: they are rewritten with the surrogate's sizes."""
        self._propagation.literals.append(Literal(self.node, argument, dims))

    def contract(self, operand: Node, dim: Dim) -> None:
        """Says that the op sums over a dimension of an operand: a parameter's fan-in."""
        self.contractions[operand] = dim

    def is_static(self, operand: Node) -> bool:
        """The operand depends on no input of the model."""
        return operand in self._propagation.origins

    def multiply_activations(self, contracted: Dim, scale_argument: str | None = None) -> None:
        """Says that activations meet activations: shrinking the dimension would change the scale of their product."""
        self.dimensions.defer(contracted, 1)
        self._propagation.products.append(Product(self.node, contracted, scale_argument))


def propagate(trace: Trace) -> Propagation:
    """Finds every dimension variable of a graph; what an op without a rule touches is pinned and reported.

    Raises:
        NotTraceable: the size of a tensor depends on the data.
    """
    _require_sizes(trace)
    found = Propagation(trace)
    for node in trace.graph.nodes:
        match node.op:
            case "placeholder":
                _enter(node, found)
            case "output":
                for each in results(trace.graph):
                    _pin_value(found, each, "an output of the model")
            case _:
                _step(node, found)
    return found


def _require_sizes(trace: Trace) -> None:
    for node in trace.graph.nodes:
        values = node.meta.get("val")
        for each in values if isinstance(values, (tuple, list)) else (values,):
            if isinstance(each, Tensor) and not all(isinstance(size, int) for size in each.shape):
                raise NotTraceable(f"the size of what {node.target} gives depends on the data", location(node))


def place(node: Node) -> str:
    """A call as messages name it: its op, and the user's line or module."""
    line = location(node)
    return f"{node.target} at {line}" if line else str(node.target)


def broadcast(call: Call) -> Dims:
    """The dimensions of an op that goes element by element, with broadcasting."""
    return broadcast_dims(call, *(call.dims_of(each) for each in call.operands()))


def broadcast_dims(call: Call, *operands: Dims) -> Dims:
    """The dimensions of tensors that are broadcast to each other."""
    result: list[Dim] = []
    rank = max((len(dims) for dims in operands), default=0)
    for axis in range(-rank, 0):
        present = [dims[axis] for dims in operands if len(dims) >= -axis and call.size(dims[axis]) != 1]
        for other in present[1:]:
            call.unify(present[0], other)
        result.append(present[0] if present else ())
    return tuple(result)


def _enter(node: Node, found: Propagation) -> None:
    value = node.meta.get("val")
    trace = found.trace
    if not node.users:
        return
    name = trace.parameters.get(node.name) or trace.buffers.get(node.name)
    if name is not None:
        first = trace.aliases.get(name, name)
        if first not in found.tensors:
            found.tensors[first] = tuple(found.dimensions.new(int(size)) for size in value.shape)  # type: ignore[union-attr]
        found.values[node] = found.tensors[first]
        found.origins[node] = frozenset([first] if node.name in trace.parameters else [])
    elif isinstance(value, Tensor):
        reason = "a constant of the model" if node.name in trace.constants else "an input of the model"
        found.values[node] = tuple(found.dimensions.new(int(size), reason) for size in value.shape)
        if node.name in trace.constants:
            found.origins[node] = frozenset()


def _step(node: Node, found: Propagation) -> None:
    operands = [each for each in node.all_input_nodes if each in found.values]
    if all(each in found.origins for each in operands):
        found.origins[node] = frozenset().union(*(found.origins[each] for each in operands))
    if node.target is operator.getitem:
        source, index = node.args
        found.values[node] = found.values[source][index]  # type: ignore[index, assignment]
        return
    rule = _rule(node)
    why = "it has no dimension rule" if rule is None else _apply(rule, Call(node, found), found)
    if why:
        _pin_unknown(node, operands, why, found)


def _rule(node: Node) -> Callable[[Call], Value] | None:
    if not isinstance(node.target, OpOverload):
        return None
    rule = dimension_rules().get(node.target)
    if rule is None and torch.Tag.pointwise in node.target.tags and isinstance(node.meta.get("val"), Tensor):
        return broadcast
    return rule


def _apply(rule: Callable[[Call], Value], call: Call, found: Propagation) -> str:
    """Gives why the rule does not fit the call, "" when it does."""
    literals = len(found.literals)
    try:
        found.values[call.node] = rule(call)
    except DimensionMismatch as mismatch:
        del found.literals[literals:]
        return str(mismatch)
    for operand, contracted in call.contractions.items():
        if found.origins.get(operand) == frozenset():
            # What a table holds is data: coordinates, say, of which a model of any width has two.
            found.dimensions.pin(contracted, f"a buffer or constant contracted by {place(call.node)}")
    if call.node not in found.origins:
        for operand in call.operands():
            contracted = call.contractions.get(operand, ())
            found.uses.extend(Use(each, call.node, operand, contracted) for each in found.origins.get(operand, ()))
    return ""


def _pin_unknown(node: Node, operands: list[Node], why: str, found: Propagation) -> None:
    unknown = UnknownOp(place(node), why)
    for each in operands:
        _pin_value(found, each, str(unknown))
    found.unknown.append(unknown)
    value = node.meta.get("val")
    if isinstance(value, Tensor):
        found.values[node] = _fresh(found, value, str(unknown))
    elif isinstance(value, (tuple, list)):
        found.values[node] = tuple(_fresh(found, each, str(unknown)) for each in value if isinstance(each, Tensor))


def _fresh(found: Propagation, value: Tensor, reason: str) -> Dims:
    return tuple(found.dimensions.new(int(size), reason) for size in value.shape)


def _pin_value(found: Propagation, node: Node, reason: str) -> None:
    for dim in _flat(found.values.get(node, ())):
        found.dimensions.pin(dim, reason)


def _flat(value: Any) -> list[Dim]:
    if isinstance(value, tuple) and all(isinstance(each, int) for each in value):
        return [value]
    return [dim for each in value for dim in _flat(each)]
