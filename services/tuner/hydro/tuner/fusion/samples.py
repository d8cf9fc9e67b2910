"""Follows the sample axis through the traces of lanes whose batches have different lengths.

Every lane has a trace of its own batch length, so nothing is extrapolated: an op's rule says where its output has the
samples, and the shapes in every trace must agree with it. A sample stands for a block of `inner` neighbours along its
axis where other axes were merged into it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Node
from torch.utils import _pytree as pytree

from hydro.tuner.fusion.not_fusible import NotFusible
from hydro.tuner.ops.registry import bind, sample_rules
from hydro.tuner.tracing import location


@dataclass(frozen=True, slots=True)
class SampleAxis:
    """Where a tensor has its samples."""

    axis: int
    inner: int = 1
    """Neighbours along the axis that belong to one sample."""


@dataclass(frozen=True, slots=True)
class Padding:
    """What lanes with batches of different lengths need to know to run as one program."""

    lengths: tuple[int, ...]
    """Samples of each lane's own batch."""
    axes: Mapping[str, SampleAxis]
    """By name of the traced value; values without samples are missing."""
    by_length: Mapping[str, Mapping[int, Node]]
    """Calls that run once for each length, over the lanes' own samples alone: those that give no samples, and those
    that draw. By node name and length, the call in a trace of that length."""
    seen: frozenset[str]
    """Every call that was looked at."""


@dataclass(frozen=True, slots=True)
class SampleCall:
    """One op call, as its sample rule sees it."""

    nodes: Sequence[Node]
    """The same call in every trace."""
    lengths: Sequence[int]
    arguments: Mapping[str, Any]
    """By the names of the schema, of the first trace."""
    axes: Mapping[Node, SampleAxis]

    def of(self, argument: Any) -> SampleAxis | None:
        """Where an argument has its samples; None: nowhere."""
        return self.axes.get(argument) if isinstance(argument, Node) else None

    def own(self, name: str) -> SampleAxis | None:
        """Where an argument has its samples, if no other argument has any."""
        others = (value for other, value in self.arguments.items() if other != name)
        if any(leaf in self.axes for leaf in pytree.tree_leaves(list(others)) if isinstance(leaf, Node)):
            return None
        return self.of(self.arguments[name])

    def ndim(self, name: str) -> int:
        """The number of an argument's axes."""
        return int(self.arguments[name].meta["val"].ndim)

    def shapes(self, name: str) -> list[tuple[int, ...]]:
        """An argument's shape in every trace."""
        return [tuple(bind(node)[name].meta["val"].shape) for node in self.nodes]

    @property
    def outputs(self) -> list[tuple[int, ...]]:
        """The shape of the output, or of the first of several, in every trace."""
        return [output_shapes(node)[0] for node in self.nodes]

    def aligned(self, *operands: Any) -> SampleAxis | None:
        """Where a broadcast of operands has its samples: those that have any have them at one place from the right."""
        ndim, found = len(self.outputs[0]), set[SampleAxis]()
        for operand in operands:
            axis = self.of(operand)
            if axis is not None:
                found.add(SampleAxis(ndim - operand.meta["val"].ndim + axis.axis, axis.inner))
        return found.pop() if len(found) == 1 else None


@dataclass(slots=True)
class SampleFlow:
    """Walks over the same calls of all traces together."""

    lengths: Sequence[int]
    """Of each trace's batch."""
    axes: dict[Node, SampleAxis] = field(default_factory=dict)
    """Of the first trace's values."""
    by_length: dict[str, Mapping[int, Node]] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def visit(self, nodes: Sequence[Node], *, is_input: bool) -> None:
        """Finds where a value has its samples.

        Raises:
            NotFusible: The call mixes samples, or none of the rules says that it does not.
        """
        first = nodes[0]
        self.seen.add(first.name)
        if is_input:
            self._place_input(nodes)
        elif first.op == "call_function" and _is_ignored(first):
            return
        elif (
            first.op == "call_function"
            and first.target not in _FILLS
            and any(node in self.axes for node in first.all_input_nodes)
        ):
            self._follow(nodes)
        elif len({str(output_shapes(node)) for node in nodes}) > 1:
            self._place_repeats(nodes)

    def may_differ(self, node: Node, values: Sequence[Any]) -> bool:
        """Whether integers of a call may differ among the traces: they are sizes, and its shapes are known to agree."""
        has_samples = node in self.axes or node.name in self.by_length
        return has_samples and node.target in _SIZED and all(type(value) is int for value in values)

    def padding(self, lengths: Sequence[int]) -> Padding:
        """Gives what was found, for lanes whose batches have these lengths."""
        axes = {node.name: axis for node, axis in self.axes.items()}
        return Padding(tuple(lengths), axes, dict(self.by_length), frozenset(self.seen))

    def _place_input(self, nodes: Sequence[Node]) -> None:
        shapes = [output_shapes(node) for node in nodes]
        if all(shape == shapes[0] for shape in shapes):
            return
        for (shape,), length in zip(shapes, self.lengths, strict=True):
            if not shape or shape[0] != length or shape[1:] != shapes[0][0][1:]:
                raise NotFusible("batches differ in more than the number of samples, which is their first axis")
        self.axes[nodes[0]] = SampleAxis(0)

    def _place_repeats(self, nodes: Sequence[Node]) -> None:
        """Takes what has no samples and repeats itself along one axis, as often as the batch is long."""
        shapes = [output_shapes(node)[0] for node in nodes]
        places = [axis for axis, sizes in enumerate(zip(*shapes, strict=True)) if len(set(sizes)) > 1]
        if nodes[0].target not in _REPEATS or len(places) != 1:
            raise self._refusal(nodes[0], "has a shape that goes with the batch, but no samples")
        found = SampleAxis(places[0], shapes[0][places[0]] // self.lengths[0])
        self._require_shapes(nodes, found)
        self.axes[nodes[0]] = found

    def _follow(self, nodes: Sequence[Node]) -> None:
        first = nodes[0]
        found, is_random = self._axis(nodes), any(_draws(node) for node in nodes)
        if found is None:
            # Without samples in its output a call may do anything: it runs over each lane's own ones alone.
            if (
                is_random
                or _keeps_state(first)
                or not output_shapes(first)
                or len({str(output_shapes(node)) for node in nodes}) > 1
            ):
                raise self._refusal(first, "mixes samples, or may do so")
        else:
            self._require_shapes(nodes, found)
            self.axes[first] = found
        if found is None or is_random:
            self.by_length[first.name] = dict(zip(self.lengths, nodes, strict=True))

    def _axis(self, nodes: Sequence[Node]) -> SampleAxis | None:
        first = nodes[0]
        if not isinstance(first.target, OpOverload):
            return self.axes.get(first.all_input_nodes[0])
        rule = _rule_of(first.target)
        if rule is None:
            return None
        found: SampleAxis | None = rule(SampleCall(nodes, self.lengths, bind(first), self.axes))
        return found

    def _require_shapes(self, nodes: Sequence[Node], found: SampleAxis) -> None:
        for node, length in zip(nodes, self.lengths, strict=True):
            for shape, other in zip(output_shapes(node), output_shapes(nodes[0]), strict=True):
                own, others = list(shape), list(other)
                if found.axis >= len(own) or own.pop(found.axis) != length * found.inner:
                    raise self._refusal(node, "gives shapes that do not go with the batch")
                del others[found.axis]
                if own != others:
                    raise self._refusal(node, "gives shapes that do not go with the batch")

    @staticmethod
    def _refusal(node: Node, what: str) -> NotFusible:
        where = location(node) or "an unknown line"
        return NotFusible(f"batches of different lengths cannot share a program: {node.target} at {where} {what}")


def output_shapes(node: Node) -> list[tuple[int, ...]]:
    """The shapes of what a call gives."""
    return [tuple(leaf.shape) for leaf in pytree.tree_leaves(node.meta.get("val")) if isinstance(leaf, Tensor)]


def _rule_of(op: OpOverload) -> Callable[[SampleCall], SampleAxis | None] | None:
    rules = sample_rules()
    if op in rules:
        return rules[op]
    pointwise = torch.Tag.pointwise in op.tags and torch.Tag.nondeterministic_seeded not in op.tags
    return rules[torch.ops.aten.add.Tensor] if pointwise else None


def takes_random_numbers(op: OpOverload, given: Mapping[str, Any]) -> bool:
    """Whether a call takes random numbers: not in eval mode, and not with a probability of 0."""
    if torch.Tag.nondeterministic_seeded not in op.tags:
        return False
    if any(given.get(name) is False for name in ("train", "training")):
        return False
    # A Bernoulli draw takes numbers from the stream whatever its probability.
    return op is torch.ops.aten.bernoulli.p or not any(
        given[name] == 0 for name in ("p", "dropout_p", "dropout") if isinstance(given.get(name), float)
    )


def _draws(node: Node) -> bool:
    return isinstance(node.target, OpOverload) and takes_random_numbers(node.target, bind(node))


def _keeps_state(node: Node) -> bool:
    """Whether a call changes a tensor, its schema said so or not (a batch norm's running statistics)."""
    aten = torch.ops.aten
    norms = (aten.batch_norm.default, aten.instance_norm.default)
    return node.target in norms or (isinstance(node.target, OpOverload) and node.target._schema.is_mutable)


def _is_ignored(node: Node) -> bool:
    """Whether no program has this call: nothing reads it."""
    if isinstance(node.target, OpOverload) and node.target._schema.name.startswith("aten::_assert"):
        return True
    return not node.users and not node.is_impure()


_ATEN = torch.ops.aten
_FILLS = (
    _ATEN.zeros.default, _ATEN.ones.default, _ATEN.full.default, _ATEN.new_zeros.default, _ATEN.new_ones.default,
    _ATEN.new_full.default,
)  # fmt: skip
_REPEATS = (_ATEN.expand.default, *_FILLS)
_SIZED = (
    *_REPEATS, _ATEN.view.default, _ATEN.reshape.default, _ATEN._unsafe_view.default, _ATEN.unflatten.int,
)  # fmt: skip
