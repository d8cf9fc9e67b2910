"""One op of a padded program, for the lanes of one batch length after the other, over their own samples alone.

Row n of a padded tensor is row n modulo the lane's own length, everywhere: what pads is never a number that the lane
does not have, so that no gradient of it is NaN where the lane's are not.

Legend: G lanes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.utils import _pytree as pytree

from hydro.tuner.fusion.emitter import Emitter
from hydro.tuner.fusion.layout import Layout, Value
from hydro.tuner.fusion.samples import Padding, SampleAxis
from hydro.tuner.fusion.structure import call_arguments


class OwnSamples:
    """The arguments of a call by batch length, and what it gave."""

    def __init__(self, emit: Emitter, padding: Padding, node: Node) -> None:
        self._emit = emit
        self._padding = padding
        self._node = node
        self._given: list[list[Node]] = []
        self.lengths = sorted(set(padding.lengths))
        self._rows = {
            length: [row for row, own in enumerate(padding.lengths) if own == length] for length in self.lengths
        }

    @contextmanager
    def of(
        self, length: int, args: tuple[Any, ...], kwargs: dict[str, Any], *, draws: bool
    ) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
        """Gives the arguments for the lanes of one length; until it ends, rules emit for those lanes alone."""
        emit, rows, own_node = self._emit, self._rows[length], self._padding.by_length[self._node.name][length]
        flat, spec = pytree.tree_flatten((args, kwargs))
        leaves = pytree.tree_leaves(call_arguments(self._node))
        own_leaves = pytree.tree_leaves(call_arguments(own_node))
        given = [
            self._own(value, leaf, own_leaf, length, rows)
            for value, leaf, own_leaf in zip(flat, leaves, own_leaves, strict=True)
        ]
        lanes, generators = emit.lanes, emit.generators
        emit.example = own_node.meta["val"]
        if draws:
            emit.generators = emit.call(_chosen, generators, rows)
        emit.lanes = len(rows)
        try:
            yield pytree.tree_unflatten(given, spec)
        finally:
            emit.lanes, emit.generators = lanes, generators

    def _own(self, value: Any, leaf: Any, own_leaf: Any, length: int, rows: list[int]) -> Any:
        if not isinstance(value, Value):
            return own_leaf
        sample = self._padding.axes.get(leaf.name) if isinstance(leaf, Node) else None
        if value.is_shared and sample is None:
            # A form that a rule adds is for these lanes alone.
            return Value(value.example, {Layout.SHARED: self._emit.shared(value)})
        whole = self._emit.lane_major(value)
        if sample is None:
            return Value(value.example, {Layout.LANES: self._emit.call(_rows, whole, rows)}, value.is_number)
        size = length * sample.inner
        return Value(
            own_leaf.meta["val"], {Layout.LANES: self._emit.call(_samples, whole, rows, sample.axis + 1, size)}
        )

    def add(self, output: Any) -> None:
        """Takes what the lanes of the next length give."""
        outputs = output if isinstance(output, list) else [output]
        self._given.append([self._emit.lane_major(each) for each in outputs])

    def together(self) -> Any:
        """Gives the outputs of all lanes, in their order, padded where they have samples."""
        sample = self._padding.axes.get(self._node.name)
        order = [row for length in self.lengths for row in self._rows[length]]
        places = [order.index(row) for row in range(len(order))]
        examples = self._node.meta["val"]
        is_one = isinstance(examples, Tensor)
        values = [
            Value(example, {Layout.LANES: self._join(list(parts), places, sample)})
            for example, parts in zip([examples] if is_one else examples, zip(*self._given, strict=True), strict=True)
        ]
        return values[0] if is_one else values

    def _join(self, parts: list[Node], places: list[int], sample: SampleAxis | None) -> Node:
        emit = self._emit
        if sample is not None:
            size = max(self.lengths) * sample.inner
            parts = [emit.call(pad, part, sample.axis + 1, size) for part in parts]
        return emit.call(_joined, parts, places)


def pad(x: Tensor, axis: int, size: int) -> Tensor:
    """Repeats what there is along an axis until it has a size."""
    own = x.shape[axis]
    if own == size:
        return x
    return x.index_select(axis, torch.arange(size, device=x.device) % own)


def _rows(x: Tensor, rows: Sequence[int]) -> Tensor:
    first, count = rows[0], len(rows)
    # Lanes beside each other are a view.
    return x[first : first + count] if rows[-1] - first + 1 == count else x[list(rows)]


def _samples(x: Tensor, rows: Sequence[int], axis: int, size: int) -> Tensor:
    return _rows(x, rows).narrow(axis, 0, size)


def _joined(parts: Sequence[Tensor], places: Sequence[int]) -> Tensor:
    x = torch.cat(list(parts))
    return x if list(places) == sorted(places) else x[list(places)]


def _chosen(generators: Sequence[torch.Generator] | None, rows: Sequence[int]) -> list[torch.Generator] | None:
    return None if generators is None else [generators[row] for row in rows]
