"""In-place ops of a traced graph: the same op out of place, where that means the same."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, Node

from hydro.tuner.fusion.scattering import DROPOUTS, scatter
from hydro.tuner.fusion.structure import NotFusible
from hydro.tuner.ops.registry import bind
from hydro.tuner.tracing import location

aten = torch.ops.aten


def functional_form(node: Node, op: OpOverload) -> OpOverload:
    """Gives the op that computes what an in-place op leaves behind.

    Raises:
        NotFusible: There is none.
    """
    if op is aten.normal_.default:
        return aten.normal_functional.default
    namespace, name = op._schema.name.split("::")
    packet = getattr(getattr(torch.ops, namespace), name.removesuffix("_"), None)
    overload = getattr(packet, _FUNCTIONAL_OVERLOADS.get(op, op._overloadname), None)
    if not isinstance(overload, OpOverload) or overload._schema.is_mutable:
        raise NotFusible(f"{op} at {location(node) or 'an unknown line'} works in place only")
    return overload


def without_changed_views(graph: Graph, kept: Collection[str]) -> Graph:
    """Gives the graph itself, or a copy in which no change of a tensor has to be seen through another view of it.

    Such a change is written as new tensors: the changed view, the tensor it is a view of with that part replaced, and
    the other views of the new tensor.

    Args:
        graph: A traced graph.
        kept: Names of the placeholders whose changes outlive a call: the module's buffers.

    Raises:
        NotFusible: A change that cannot be written so.
    """
    if not any(_Change(node, kept).shows_elsewhere for node in _changing(graph)):
        return graph
    copy = Graph()
    copy.output(copy.graph_copy(graph, {}))
    for node in _changing(copy):
        change = _Change(node, kept)
        if change.shows_elsewhere:
            change.write()
    return copy


def _changing(graph: Graph) -> list[Node]:
    return [
        node
        for node in graph.nodes
        if isinstance(node.target, OpOverload) and node.target._schema.is_mutable and isinstance(node.args[0], Node)
    ]


class _Change:
    """One in-place op."""

    def __init__(self, node: Node, kept: Collection[str]) -> None:
        changed = node.args[0]
        assert isinstance(changed, Node)
        self._node, self._changed = node, changed
        self._order: Mapping[Node, int] = {each: index for index, each in enumerate(node.graph.nodes)}
        self._seen = [alias for alias in _aliases(changed) if self._is_earlier(alias) and self._is_read_later(alias)]
        self.shows_elsewhere = bool(self._seen) or (is_view(changed) and _root(changed).name in kept)
        """Whether another view is read later, or the module keeps what this one is a view of."""
        self._now: dict[Node, Node] = {}
        self._last = node

    def write(self) -> None:
        """Writes it as new tensors."""
        node = self._node
        assert isinstance(node.target, OpOverload)
        functional = functional_form(node, node.target)
        self._now[self._changed] = node
        self._write_up()
        node.target = functional
        for alias in sorted(self._seen, key=self._order.__getitem__):
            self._write_again(alias)
        for old, new in self._now.items():
            for user in [user for user in old.users if self._order.get(user, -1) > self._order[node]]:
                user.replace_input_with(old, new)

    def _write_up(self) -> None:
        """Writes the tensors that the changed one is a view of, with the part that it shows replaced."""
        view = self._changed
        while is_view(view):
            origin = _origin(view)
            self._now[origin] = self._now[view] if changes_in_place(view) else self._scattered(view, origin)
            view = origin
        if view.op == "placeholder":
            self._now[view] = self._emit(aten.copy_.default, (view, self._now[view]), like=view)

    def _scattered(self, view: Node, origin: Node) -> Node:
        written = scatter(view, origin, self._now[view])
        if written is None:
            where = location(self._node) or "an unknown line"
            raise NotFusible(f"{self._node.target} at {where} changes a tensor through {view.target}")
        return self._emit(*written, like=origin)

    def _write_again(self, alias: Node) -> None:
        """Takes a view once more, of what stands for its source now."""
        if alias in self._now:
            return
        source = alias.all_input_nodes[0]
        self._write_again(source)
        if changes_in_place(alias):
            self._now[alias] = self._now[source]
            return
        with alias.graph.inserting_after(self._last):
            again = alias.graph.node_copy(alias, lambda each: self._now[source] if each is source else each)
        self._now[alias] = self._last = again

    def _emit(self, op: OpOverload, args: tuple[Any, ...], like: Node) -> Node:
        with self._node.graph.inserting_after(self._last):
            emitted = self._node.graph.call_function(op, args)
        emitted.meta = {**self._node.meta, "val": like.meta["val"]}
        self._last = emitted
        return emitted

    def _is_earlier(self, alias: Node) -> bool:
        return self._order[alias] < self._order[self._node]

    def _is_read_later(self, alias: Node) -> bool:
        return any(self._order[user] > self._order[self._node] for user in alias.users)


def _origin(view: Node) -> Node:
    """What a view is a view of; parts of a split are views of the tensor that was split."""
    source = view.all_input_nodes[0]
    return source.all_input_nodes[0] if view.target is operator.getitem else source


def _root(node: Node) -> Node:
    while is_view(node):
        node = _origin(node)
    return node


def _aliases(changed: Node) -> set[Node]:
    """Gives the other views of a tensor: what it is a view of, and what is a view of it."""
    found, waiting = {changed}, [changed]
    while waiting:
        node = waiting.pop()
        related = [user for user in node.users if is_view(user) and node in user.all_input_nodes[:1]]
        related += node.all_input_nodes[:1] if is_view(node) else []
        waiting += [each for each in related if each not in found]
        found.update(related)
    return found - {changed}


def is_view(node: Node) -> bool:
    """Whether a node's output shares memory with its first input."""
    if node.target is operator.getitem:
        return is_view(node.all_input_nodes[0])
    if not isinstance(node.target, OpOverload):
        return False
    if node.target in DROPOUTS:
        return _drops_nothing(node)
    if not any(returned.alias_info is not None for returned in node.target._schema.returns):
        return False
    return node.target not in _MAY_COPY or _shares_memory(node)


def changes_in_place(node: Node) -> bool:
    """Whether a node gives back the tensor that it changes."""
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable


def _drops_nothing(node: Node) -> bool:
    """Whether a dropout gives its input itself, though its schema does not say so."""
    given = bind(node)
    return not given["train"] or given["p"] == 0


def _shares_memory(node: Node) -> bool:
    """Whether an op that copies when it must gives a view here, tried on a tensor without data."""
    example = node.all_input_nodes[0].meta["val"]
    meta = torch.empty_strided(example.shape, example.stride(), dtype=example.dtype, device="meta")
    others = node.args[1:]
    if any(isinstance(other, Node) for other in others) or node.target in _TO:
        output = node.meta["val"]
        same = isinstance(output, Tensor) and output.dtype == example.dtype and output.device == example.device
        return same and not bind(node).get("copy", False)
    assert isinstance(node.target, OpOverload)
    output = node.target(meta, *others, **node.kwargs)
    return bool(output.untyped_storage()._cdata == meta.untyped_storage()._cdata)


_TO = (aten.to.dtype, aten.to.device, aten.to.dtype_layout, aten.to.other, aten.type_as.default)
_MAY_COPY = (
    *_TO, aten.reshape.default, aten.reshape_as.default, aten.flatten.using_ints, aten.contiguous.default,
)  # fmt: skip
_FUNCTIONAL_OVERLOADS = {aten.bernoulli_.float: "p", aten.copy_.default: "default"}
