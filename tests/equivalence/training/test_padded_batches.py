"""Lanes whose batches differ in length share one padded program, and end where they would alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from hydro.tuner.task import TrainingTask
from hydro.tuner.training.lane import LaneSpec
from hydro.tuner.training.micro_bundle import MicroBundle


class Perceptron(TrainingTask):
    """Classes of random points; the batch size decides how far a step goes in the data."""

    precision = "float64"
    defaults = {"lr": 0.05, "batch_size": 8, "dropout": 0.2, "optimizer": "SGD"}

    def model(self, hp: Any) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(hp["dropout"]), nn.LayerNorm(16), nn.Linear(16, 4))

    def train_batches(self, hp: Any, seed: int, start_step: int) -> Iterator[Any]:
        generator = torch.Generator().manual_seed(seed)
        points, labels = torch.randn(400, 6, generator=generator), torch.randint(4, (400,), generator=generator)
        step, size = start_step, hp["batch_size"]
        while True:
            chosen = torch.arange(step * size, (step + 1) * size) % 400
            yield points[chosen], labels[chosen]
            step += 1

    def validation_batches(self, hp: Any) -> Any:
        return [next(self.train_batches({"batch_size": 30}, 1, 0))]

    def loss(self, model: nn.Module, batch: Any, hp: Any) -> torch.Tensor:
        points, labels = batch
        return F.cross_entropy(model(points), labels, ignore_index=3)

    def optimizer(self, model: nn.Module, hp: Any) -> torch.optim.Optimizer:
        if hp["optimizer"] == "SGD":
            return torch.optim.SGD(model.parameters(), lr=hp["lr"], momentum=0.9)
        return torch.optim.AdamW(model.parameters(), lr=hp["lr"])


def _lanes(sizes: Any, **others: Any) -> list[LaneSpec]:
    return [
        LaneSpec(f"t{index}", {"batch_size": size, "lr": 0.01 * (index + 1)} | others, seed=index)
        for index, size in enumerate(sizes)
    ]


def _train(trainer: Any, steps: int) -> Any:
    for _ in range(steps):
        trainer.train_step()
    return trainer


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many programs each step took."""
    seen: list[int] = []
    found = MicroBundle._parts

    def counted(self: Any, *args: Any) -> Any:
        given = found(self, *args)
        seen.append(len(given))
        return given

    monkeypatch.setattr(MicroBundle, "_parts", counted)
    return seen


@pytest.mark.parametrize("optimizer", ["SGD", "AdamW"])
def test_a_perceptrons_lanes_with_other_batch_sizes_share_a_program(
    new_trainer: Any, assert_equal_lanes: Any, parts: list[int], optimizer: str
) -> None:
    lanes = _lanes([12, 10, 16, 10], optimizer=optimizer)
    fused = _train(new_trainer(Perceptron(), lanes, fused=True), 20)
    assert set(parts) == {1}
    separate = _train(new_trainer(Perceptron(), lanes, fused=False), 20)
    assert_equal_lanes(fused, separate)
    trials = [lane.trial for lane in lanes]
    measured, expected = fused.validate(trials), separate.validate(trials)
    for trial in trials:
        assert measured[trial] == pytest.approx(expected[trial], abs=1e-10)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_a_language_models_lanes_with_other_batch_sizes_share_a_program(
    char_lm: Any, new_trainer: Any, assert_equal_lanes: Any, parts: list[int], optimizer: Any
) -> None:
    class Task(char_lm):
        def optimizer(self, model: Any, hp: Any) -> Any:
            return optimizer(model.parameters(), lr=hp["lr"])

    lanes = [
        LaneSpec("a", {"batch_size": 10, "lr": 3e-3, "dropout": 0.2}, seed=1),
        LaneSpec("b", {"batch_size": 16, "lr": 1e-3}, seed=2),
        LaneSpec("c", {"batch_size": 12, "lr": 2e-3, "dropout": 0.0}, seed=3),
    ]
    fused = _train(new_trainer(Task(), lanes, fused=True), 20)
    assert set(parts) == {1}
    assert_equal_lanes(fused, _train(new_trainer(Task(), lanes, fused=False), 20))


def test_batch_norm_keeps_other_batch_sizes_apart_and_the_report_names_it(
    digits: Any, new_trainer: Any, assert_equal_lanes: Any, parts: list[int]
) -> None:
    lanes = _lanes([8, 16, 12])
    fused = _train(new_trainer(digits(), lanes, fused=True), 3)
    assert set(parts) == {3}
    assert "aten.batch_norm.default at module model" in fused.report
    assert "mixes samples" in fused.report
    assert_equal_lanes(fused, _train(new_trainer(digits(), lanes, fused=False), 3))


def test_batches_half_as_long_run_apart(new_trainer: Any, assert_equal_lanes: Any, parts: list[int]) -> None:
    lanes = _lanes([8, 16, 7])
    fused = _train(new_trainer(Perceptron(), lanes, fused=True), 4)
    assert set(parts) == {2}
    assert_equal_lanes(fused, _train(new_trainer(Perceptron(), lanes, fused=False), 4))


def test_a_lane_that_is_not_a_number_leaves_its_padded_neighbours_alone(
    new_trainer: Any, assert_equal_lanes: Any, parts: list[int]
) -> None:
    lanes = _lanes([10, 12, 16])
    dead = LaneSpec("dead", {"batch_size": 11, "lr": 1e200}, seed=9)
    fused = _train(new_trainer(Perceptron(), [lanes[0], dead, *lanes[1:]], fused=True), 6)
    (failure,) = fused.take_failures()
    assert failure.trial == "dead"
    assert set(parts) == {1}
    assert_equal_lanes(fused, _train(new_trainer(Perceptron(), lanes, fused=False), 6))


def test_padded_lanes_come_go_and_resume_at_their_own_place_in_the_data(
    new_trainer: Any, assert_equal_lanes: Any
) -> None:
    lanes = _lanes([10, 12, 16])
    trainer = _train(new_trainer(Perceptron(), lanes[:2], fused=True), 3)
    trainer.insert(lanes[2:])
    _train(trainer, 2)
    trainer.remove(["t0"])
    _train(trainer, 2)
    assert_equal_lanes(trainer, _train(new_trainer(Perceptron(), lanes[1:2], fused=False), 7))
    assert_equal_lanes(trainer, _train(new_trainer(Perceptron(), lanes[2:], fused=False), 4))


def _squared(model: Any, points: Any, labels: Any) -> Any:
    return F.mse_loss(model(points), F.one_hot(labels, 4).to(points))


def _sum_over_count(model: Any, points: Any, labels: Any) -> Any:
    return F.cross_entropy(model(points), labels, reduction="sum") / len(points)


def _mean_of_losses(model: Any, points: Any, labels: Any) -> Any:
    return F.cross_entropy(model(points), labels, reduction="none").square().mean()


def _statistics_at_the_end(model: Any, points: Any, labels: Any) -> Any:
    logits = model(points)
    return F.cross_entropy(logits, labels) + logits.std(0).mean() + logits.max() + logits.new_ones(len(points)).sum()


def _normalized(model: Any, points: Any, labels: Any) -> Any:
    # The gradient of a norm at zero is not a number: padding with zeros would spread it.
    logits = model(points)
    return F.nll_loss((logits / logits.norm(dim=1, keepdim=True)).log_softmax(1), labels)


@pytest.mark.parametrize(
    "loss",
    [_squared, _sum_over_count, _mean_of_losses, _statistics_at_the_end, _normalized],
    ids=lambda each: each.__name__,
)
def test_whatever_reduces_the_samples_sees_a_lanes_own_ones(
    new_trainer: Any, assert_equal_lanes: Any, parts: list[int], loss: Any
) -> None:
    class Task(Perceptron):
        def loss(self, model: Any, batch: Any, hp: Any) -> Any:
            return loss(model, *batch)

    lanes = _lanes([10, 16, 12])
    fused = _train(new_trainer(Task(), lanes, fused=True), 6)
    assert set(parts) == {1}, fused.report
    assert_equal_lanes(fused, _train(new_trainer(Task(), lanes, fused=False), 6))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 24), min_size=2, max_size=5),
    dropout=st.sampled_from([0.0, 0.3]),
    optimizer=st.sampled_from(["SGD", "AdamW"]),
)
def test_any_batch_sizes_end_where_lanes_alone_do(
    new_trainer: Any, assert_equal_lanes: Any, sizes: list[int], dropout: float, optimizer: str
) -> None:
    class Task(Perceptron):
        def loss(self, model: Any, batch: Any, hp: Any) -> Any:
            return F.cross_entropy(model(batch[0]), batch[1])

    lanes = _lanes(sizes, dropout=dropout, optimizer=optimizer)
    fused = _train(new_trainer(Task(), lanes, fused=True), 3)
    assert_equal_lanes(fused, _train(new_trainer(Task(), lanes, fused=False), 3))
