"""Training batches by cursor: lanes at the same step share each batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from hydro.tuner.fusion.own_samples import pad
from hydro.tuner.task import Batch, Hyperparameters, TrainingTask
from hydro.tuner.training.padding_limit import PADDING_KEEPS
from hydro.tuner.training.placed_task import TaskInvalid
from hydro.tuner.training.reads import HyperparameterReads, ReadValues

Shapes: TypeAlias = tuple[tuple[tuple[int, ...], torch.dtype], ...]


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a lane stands in its data."""

    step: int
    hyperparameters: Hyperparameters


@dataclass(slots=True)
class _Stream:
    batches: Iterator[Batch]
    values: ReadValues
    step: int

    def draw(self) -> Batch:
        try:
            batch = next(self.batches)
        except StopIteration:
            raise TaskInvalid(
                f"train_batches ended before step {self.step}: it must yield batches without end"
            ) from None
        self.step += 1
        return batch


class BatchSource:
    """Draws the next batch of every lane.

    All lanes take every step together, so their distances in the data stay as they are. Lanes that are at the same step
    and agree on the hyperparameters that the data reads have one stream.
    """

    def __init__(self, task: TrainingTask, seed: int) -> None:
        self._task = task
        self.seed = seed
        self._reads = HyperparameterReads()
        self._cursors: list[Cursor] = []
        self._streams: list[_Stream] = []
        self.stream_of_lane: list[int] = []
        """For each lane the index of its stream."""

    def place_lanes(self, cursors: Sequence[Cursor]) -> None:
        """Sets the lanes: when they change, not at each step. Streams that still serve go on."""
        self._cursors = list(cursors)
        streams = {(stream.step, stream.values): stream for stream in self._streams}
        self._streams, self.stream_of_lane = [], []
        for cursor in cursors:
            stream = self._stream(cursor, streams)
            if stream not in self._streams:
                self._streams.append(stream)
            self.stream_of_lane.append(self._streams.index(stream))

    def _stream(self, cursor: Cursor, streams: dict[tuple[int, ReadValues], _Stream]) -> _Stream:
        key = (cursor.step, self._reads.values(cursor.hyperparameters))
        if key not in streams:
            watched = self._reads.watched(cursor.hyperparameters)
            batches = self._task.train_batches(watched, self.seed, cursor.step)
            streams[key] = _Stream(batches, key[1], cursor.step)
        return streams[key]

    def draw(self) -> list[Batch]:
        """Gives the next batch of each stream."""
        reads_before, steps = self._reads.count, [stream.step for stream in self._streams]
        batches = [stream.draw() for stream in self._streams]
        if self._reads.count != reads_before and not self._still_agree():
            return self._draw_apart(steps)
        return batches

    def _still_agree(self) -> bool:
        """Says whether the lanes of each stream agree on what the data have read by now."""
        seen: dict[int, ReadValues] = {}
        for cursor, index in zip(self._cursors, self.stream_of_lane, strict=True):
            values = self._reads.values(cursor.hyperparameters)
            if seen.setdefault(index, values) != values:
                return False
        for index, values in seen.items():
            self._streams[index].values = values
        return True

    def _draw_apart(self, steps: list[int]) -> list[Batch]:
        # The data read a hyperparameter for the first time, and lanes that differ in it shared a stream.
        current = [
            Cursor(steps[index], cursor.hyperparameters)
            for cursor, index in zip(self._cursors, self.stream_of_lane, strict=True)
        ]
        self._streams = []
        self.place_lanes(current)
        return self.draw()


def shapes(batch: Batch) -> Shapes:
    """Gives the shape and type of each tensor of a batch: there is one program for each."""
    return tuple((tuple(leaf.shape), leaf.dtype) for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor))


def sample_counts(shapes: Sequence[Shapes]) -> list[int] | None:
    """Gives how many samples each batch has, if batches differ in the length of their first axis alone; else None."""
    if len({tuple((shape[1:], len(shape), dtype) for shape, dtype in each) for each in shapes}) > 1:
        return None
    columns = {tuple(shape[:1] for shape, _ in leaves) for leaves in zip(*shapes, strict=True)}
    differing = [column for column in columns if len(set(column)) > 1]
    return [length for (length,) in differing[0]] if len(differing) == 1 else None


def close_in_length(shapes: Iterable[Shapes]) -> list[list[Shapes]]:
    """Groups the shapes of batches that may share a padded program, the longest of each group first."""
    groups: list[list[Shapes]] = []
    for each in sorted(shapes, key=lambda each: sum(prod(shape) for shape, _ in each), reverse=True):
        for group in groups:
            counts = sample_counts([group[0], each])
            if counts and counts[0] * PADDING_KEEPS <= counts[1] and sample_counts([*group, each]):
                group.append(each)
                break
        else:
            groups.append([each])
    return groups


def padded(batches: Sequence[Batch]) -> list[Batch]:
    """Gives the batches as long as the longest one; each is filled up with its own samples, from the first one on."""

    def same_length(*leaves: Any) -> Any:
        if not isinstance(leaves[0], Tensor) or leaves[0].ndim == 0:
            return leaves
        longest = max(len(leaf) for leaf in leaves)
        return tuple(pad(leaf, 0, longest) for leaf in leaves)

    spec = pytree.tree_structure(batches[0])
    columns = zip(*(pytree.tree_leaves(batch) for batch in batches), strict=True)
    rows = zip(*(same_length(*column) for column in columns), strict=True)
    return [pytree.tree_unflatten(list(row), spec) for row in rows]


def stack(batches: Sequence[Batch]) -> Batch:
    """Stacks lanes' batches.

    Shape: each tensor [N, ...] of every batch becomes one of [G, N, ...].
    """
    return pytree.tree_map(
        lambda *leaves: torch.stack(leaves) if isinstance(leaves[0], Tensor) else leaves[0], *batches
    )
