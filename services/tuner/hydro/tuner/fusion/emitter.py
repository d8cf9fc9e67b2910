"""What a lane rule writes with: the grouped graph under construction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, Node

from hydro.nn.packing import pack, share, unpack
from hydro.tuner.fusion.layout import Layout, Value


class Emitter:
    """Emits nodes into the grouped graph and converts values between layouts, each conversion at most once.

    A lane rule is called with this object, the op and its arguments: all that its schema has, in order, defaults filled
    in, keyword-only ones last, with a `Value` for every tensor. It gives the op's output as a `Value` (or a list of
    them), or None when it does not apply.
    """

    def __init__(self, graph: Graph, lanes: Node, generators: Node) -> None:
        """Starts on a graph with the two placeholders that every rule may use."""
        self._graph = graph
        self.lanes: Any = lanes
        """The number of lanes, known at run time."""
        self.generators = generators
        """The lanes' random streams, or None at run time."""
        self.example: Any = None
        """What the op under way gives for one lane: a tensor without data, or several."""

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Node:
        """Emits a call."""
        return self._graph.call_function(function, args, kwargs)

    def aten(self, op: OpOverload, values: Sequence[Any]) -> Node:
        """Emits an op with all its arguments, in the order of its schema; defaults are left out."""
        args, kwargs = schema_call(op, values)
        return self.call(op, *args, **kwargs)

    def method(self, name: str, *args: Any, **kwargs: Any) -> Node:
        """Emits a call of a tensor's method."""
        return self._graph.call_method(name, args, kwargs)

    def shared(self, value: Value) -> Node:
        """Gives the tensor that all lanes share."""
        return value.forms[Layout.SHARED]

    def lane_major(self, value: Value) -> Node:
        """Gives a value as [G, ...]; a shared one as a view without copies."""
        if Layout.LANES not in value.forms:
            if value.is_shared:
                node = self.call(share, self.shared(value), self.lanes)
            else:
                node = self.call(unpack, value.forms[Layout.PACKED], self.lanes)
            value.forms[Layout.LANES] = node
        return value.forms[Layout.LANES]

    def packed(self, value: Value) -> Node:
        """Gives a value [N, C, ...] as [N, G*C, ...]."""
        if Layout.PACKED not in value.forms:
            value.forms[Layout.PACKED] = self.call(pack, self.lane_major(value))
        return value.forms[Layout.PACKED]

    def broadcastable(self, value: Value, ndim: int) -> Node:
        """Gives a value that broadcasts against a lane-major one whose lanes have `ndim` axes."""
        if value.is_shared:
            return self.shared(value)
        if value.is_number:
            return self.method("view", self.lane_major(value), self.lanes, *(1,) * ndim)
        node = self.lane_major(value)
        if value.ndim == ndim:
            return node
        return self.method("view", node, self.lanes, *(1,) * (ndim - value.ndim), *value.shape)

    def in_lanes(self, node: Node) -> Value:
        """Gives the op's output, lane-major."""
        return self._output(node, Layout.LANES)

    def in_channels(self, node: Node) -> Value:
        """Gives the op's output, packed."""
        return self._output(node, Layout.PACKED)

    def several(self, node: Node, layout: Layout) -> list[Value]:
        """Gives an op's several outputs."""
        return [Value(example, {layout: self.call(_item, node, index)}) for index, example in enumerate(self.example)]

    def _output(self, node: Node, layout: Layout) -> Value:
        if not isinstance(self.example, Tensor):
            raise TypeError(f"{node.target} gives several outputs: use several()")
        return Value(self.example, {layout: node})


def schema_call(op: OpOverload, values: Sequence[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Gives the arguments to call an op with for all those of its schema, in order; defaults are left out."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    named = False
    for argument, value in zip(op._schema.arguments, values, strict=True):
        is_default = not isinstance(value, Node) and argument.has_default_value() and value == argument.default_value
        named = named or argument.kwarg_only or is_default
        if not named:
            args.append(value)
        elif not is_default:
            kwargs[argument.name] = value
    return args, kwargs


def lane_axis(axis: int) -> int:
    """Where an axis of one lane's tensor is in the lane-major one."""
    return axis if axis < 0 else axis + 1


def lane_axes(axes: Sequence[int]) -> list[int]:
    """Where axes of one lane's tensor are in the lane-major one."""
    return [lane_axis(axis) for axis in axes]


def _item(outputs: Sequence[Tensor], index: int) -> Tensor:
    return outputs[index]
