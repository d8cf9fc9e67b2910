from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from hydro.tuner.task import TrainingTask
from hydro.tuner.training.data import BatchSource, Cursor, shapes, stack
from hydro.tuner.training.placed_task import TaskInvalid
from hydro.tuner.training.reads import HyperparameterReads


class Counting(TrainingTask):
    """Each batch tells its step and its size."""

    def __init__(self) -> None:
        self.opened = 0

    def train_batches(self, hp: Any, seed: int, start_step: int) -> Iterator[torch.Tensor]:
        self.opened += 1
        step = start_step
        while True:
            # The offset is read late: lanes that differ in it may already share a stream.
            offset = hp["offset"] if step >= 3 else 0
            yield torch.full((hp["batch_size"],), float(step + offset))
            step += 1


def _cursor(step: int, batch_size: int = 2, offset: int = 0) -> Cursor:
    return Cursor(step, {"batch_size": batch_size, "offset": offset, "lr": step})


def test_lanes_at_one_step_share_each_batch_whatever_their_learning_rate() -> None:
    task = Counting()
    source = BatchSource(task, seed=0)
    source.place_lanes([_cursor(0), _cursor(0)])
    (batch,) = source.draw()
    assert batch.tolist() == [0, 0]
    assert source.stream_of_lane == [0, 0]
    assert task.opened == 1


def test_lanes_at_other_steps_have_streams_of_their_own_and_keep_them() -> None:
    task = Counting()
    source = BatchSource(task, seed=0)
    source.place_lanes([_cursor(0), _cursor(10)])
    assert [batch[0].item() for batch in source.draw()] == [0, 10]
    source.place_lanes([_cursor(1), _cursor(11), _cursor(11)])
    assert [batch[0].item() for batch in source.draw()] == [1, 11]
    assert source.stream_of_lane == [0, 1, 1]
    assert task.opened == 2


def test_lanes_that_the_data_begin_to_tell_apart_are_separated_in_the_same_step() -> None:
    source = BatchSource(Counting(), seed=0)
    source.place_lanes([_cursor(2, offset=100), _cursor(2, offset=200)])
    drawn = []
    for _ in range(3):
        batches = source.draw()
        drawn.append([batches[stream][0].item() for stream in source.stream_of_lane])
    assert drawn == [[2, 2], [103, 203], [104, 204]]


def test_data_that_end_are_refused() -> None:
    class Ending(TrainingTask):
        def train_batches(self, hp: Any, seed: int, start_step: int) -> Iterator[torch.Tensor]:
            yield torch.zeros(1)

    source = BatchSource(Ending(), seed=0)
    source.place_lanes([Cursor(0, {})])
    source.draw()
    with pytest.raises(TaskInvalid, match="ended before step 1: it must yield batches without end"):
        source.draw()


def test_batches_are_stacked_leaf_by_leaf() -> None:
    batch = {"x": torch.ones(3, 2), "more": (torch.zeros(3, dtype=torch.long), "name")}
    stacked = stack([batch, batch])
    assert stacked["x"].shape == (2, 3, 2)
    assert stacked["more"][0].shape == (2, 3)
    assert stacked["more"][1] == "name"
    assert shapes(batch) == (((3, 2), torch.float32), ((3,), torch.int64))


def test_whatever_looks_at_all_hyperparameters_has_read_all() -> None:
    reads = HyperparameterReads()
    watched = reads.watched({"a": 1, "b": 2.0})
    assert watched.get("a") == 1
    assert reads.values({"a": 1, "b": 3.0}) == (("a", "int", 1),)
    assert dict(watched) == {"a": 1, "b": 2.0}
    assert reads.values({"a": 1, "b": 3.0}) == (("a", "int", 1), ("b", "float", 3.0))


def test_equal_values_of_other_types_are_told_apart() -> None:
    reads = HyperparameterReads()
    assert reads.watched({"a": 1})["a"] == 1
    assert reads.values({"a": 1}) != reads.values({"a": True})
