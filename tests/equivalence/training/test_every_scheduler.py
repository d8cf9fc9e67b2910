"""Every scheduler of torch, one on each lane of a bundle, against separate trainers and a plain loop, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler as schedulers
from torch.optim import swa_utils

from hydro.tuner.task import TrainingTask
from hydro.tuner.training.checkpoint import LaneState
from hydro.tuner.training.lane import LaneSpec

STEPS, PAUSE, VALIDATE_EVERY = 20, 8, 4
TOLERANCE = 1e-10
DATA_SEED = 7


def _warm_up(optimizer: Any) -> Any:
    return schedulers.LinearLR(optimizer, 0.2, total_iters=4)


def _decay(optimizer: Any) -> Any:
    return schedulers.ExponentialLR(optimizer, 0.9)


# A new scheduler of torch fails here until it is listed.
SCHEDULERS: dict[str, Callable[[Any, float], Any]] = {
    "ChainedScheduler": lambda optimizer, lr: schedulers.ChainedScheduler([_warm_up(optimizer), _decay(optimizer)]),
    "ConstantLR": lambda optimizer, lr: schedulers.ConstantLR(optimizer, 0.3, total_iters=6),
    "CosineAnnealingLR": lambda optimizer, lr: schedulers.CosineAnnealingLR(optimizer, 12, eta_min=lr / 100),
    "CosineAnnealingWarmRestarts": lambda optimizer, lr: schedulers.CosineAnnealingWarmRestarts(optimizer, 3, T_mult=2),
    "CyclicLR": lambda optimizer, lr: schedulers.CyclicLR(optimizer, lr / 5, lr, step_size_up=3, mode="triangular2"),
    "ExponentialLR": lambda optimizer, lr: _decay(optimizer),
    "LambdaLR": lambda optimizer, lr: schedulers.LambdaLR(optimizer, lambda step: 1 / (1 + lr * step)),
    "LinearLR": lambda optimizer, lr: _warm_up(optimizer),
    "MultiStepLR": lambda optimizer, lr: schedulers.MultiStepLR(optimizer, [3, 7, 15], 0.5),
    "MultiplicativeLR": lambda optimizer, lr: schedulers.MultiplicativeLR(optimizer, lambda step: 1 - lr / (1 + step)),
    "OneCycleLR": lambda optimizer, lr: schedulers.OneCycleLR(optimizer, lr, total_steps=STEPS + 1, three_phase=True),
    "PolynomialLR": lambda optimizer, lr: schedulers.PolynomialLR(optimizer, total_iters=25, power=2.0),
    "ReduceLROnPlateau": lambda optimizer, lr: schedulers.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=0, threshold=0.5
    ),
    "SWALR": lambda optimizer, lr: swa_utils.SWALR(optimizer, swa_lr=lr / 4, anneal_epochs=6),
    "SequentialLR": lambda optimizer, lr: schedulers.SequentialLR(
        optimizer, [_warm_up(optimizer), schedulers.CosineAnnealingLR(optimizer, 10), _decay(optimizer)], [4, 14]
    ),
    "StepLR": lambda optimizer, lr: schedulers.StepLR(optimizer, 4, gamma=0.5),
}


class OwnSchedule(schedulers.LRScheduler):
    """A user's: it changes the weight decay too."""

    def get_lr(self) -> list[float | Tensor]:
        for group in self.optimizer.param_groups:
            group["weight_decay"] = 0.01 * (1 + self.last_epoch)
        return [rate * 0.95**self.last_epoch for rate in self.base_lrs]


class _Task(TrainingTask):
    precision = "float64"

    def inputs(self, generator: torch.Generator) -> Tensor:
        raise NotImplementedError

    def train_batches(self, hp: Any, seed: int, start_step: int) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            generator = torch.Generator().manual_seed(1000 * seed + start_step)
            inputs = self.inputs(generator)
            yield inputs, torch.randint(3, (len(inputs),), generator=generator)
            start_step += 1

    def validation_batches(self, hp: Any) -> list[tuple[Tensor, Tensor]]:
        batches = self.train_batches(hp, 99, 0)
        return [next(batches), next(batches)]

    def loss(self, model: nn.Module, batch: Any, hp: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    def optimizer(self, model: nn.Module, hp: Any) -> torch.optim.Optimizer:
        first, *others = model.parameters()
        groups = [{"params": [first], "lr": hp["lr"] / 2}, {"params": others}]
        if hp["optimizer"] == "SGD":
            return torch.optim.SGD(groups, lr=hp["lr"], momentum=0.9)
        return torch.optim.AdamW(groups, lr=hp["lr"] / 10)

    def lr_scheduler(self, optimizer: torch.optim.Optimizer, hp: Any) -> Any:
        name = hp["scheduler"]
        return OwnSchedule(optimizer) if name == "own" else SCHEDULERS[name](optimizer, hp["lr"])


class Perceptron(_Task):
    def model(self, hp: Any) -> nn.Module:
        return nn.Sequential(nn.Linear(6, 12), nn.LayerNorm(12), nn.Tanh(), nn.Linear(12, 3))

    def inputs(self, generator: torch.Generator) -> Tensor:
        return torch.randn(8, 6, generator=generator)


class Convolutions(_Task):
    def model(self, hp: Any) -> nn.Module:
        layers = [nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.SiLU(), nn.Conv2d(4, 3, 3), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(27, 3))

    def inputs(self, generator: torch.Generator) -> Tensor:
        return torch.randn(6, 2, 7, 7, generator=generator)


class Attention(_Task):
    def model(self, hp: Any) -> nn.Module:
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        return nn.Sequential(nn.Embedding(11, 8), layer, nn.Flatten(), nn.Linear(32, 3))

    def inputs(self, generator: torch.Generator) -> Tensor:
        return torch.randint(11, (6, 4), generator=generator)


def schedulers_of_torch() -> set[str]:
    classes = [value for room in (schedulers, swa_utils) for value in vars(room).values() if isinstance(value, type)]
    return {each.__name__ for each in classes if issubclass(each, schedulers.LRScheduler)} - {
        "LRScheduler", "_LRScheduler",
    }  # fmt: skip


def _specs(optimizer: str) -> list[LaneSpec]:
    names = [*sorted(schedulers_of_torch()), "own"]
    return [
        LaneSpec(name, {"scheduler": name, "optimizer": optimizer, "lr": 0.05 + 0.005 * index}, seed=index)
        for index, name in enumerate(names)
    ]


def _train(trainer: Any, start: int, stop: int) -> Any:
    for step in range(start, stop):
        trainer.train_step()
        if step % VALIDATE_EVERY == VALIDATE_EVERY - 1:
            trainer.validate([lane.trial for lane in trainer.lanes])
    return trainer


def _plain_loop(task: _Task, spec: LaneSpec) -> tuple[dict[str, Tensor], list[float]]:
    torch.manual_seed(spec.seed)
    model = task.model(spec.hyperparameters).double()
    optimizer = task.optimizer(model, spec.hyperparameters)
    scheduler = task.lr_scheduler(optimizer, spec.hyperparameters)
    batches, rates = task.train_batches(spec.hyperparameters, DATA_SEED, 0), []
    for step in range(STEPS):
        _loss(task, model, next(batches)).backward()
        optimizer.step()
        optimizer.zero_grad()
        is_plateau = isinstance(scheduler, schedulers.ReduceLROnPlateau)
        if not is_plateau:
            scheduler.step()
        elif step % VALIDATE_EVERY == VALIDATE_EVERY - 1:
            with torch.no_grad():
                losses = [_loss(task, model.eval(), batch) for batch in task.validation_batches({})]
            model.train()
            scheduler.step(float(sum(losses)) / len(losses))
        rates.append(optimizer.param_groups[-1]["lr"])
    return model.state_dict(), rates


def _loss(task: _Task, model: nn.Module, batch: Any) -> Tensor:
    inputs, labels = batch
    return task.loss(model, (inputs.double() if inputs.is_floating_point() else inputs, labels), {})


def _weights(trainer: Any, spec: LaneSpec) -> dict[str, Tensor]:
    return LaneState.from_bytes(trainer.checkpoint(spec.trial), torch.device("cpu"), STEPS).model


@pytest.mark.parametrize(
    ("task", "optimizer"),
    [(Perceptron(), "SGD"), (Convolutions(), "SGD"), (Attention(), "SGD"), (Perceptron(), "AdamW")],
    ids=["perceptron", "convolutions", "attention", "perceptron-adamw"],
)
def test_every_scheduler_in_one_bundle_equals_a_plain_loop(new_trainer: Any, task: _Task, optimizer: str) -> None:
    specs = _specs(optimizer)
    fused = _train(new_trainer(task, specs, fused=True), 0, STEPS)
    separate = _train(new_trainer(task, specs, fused=False), 0, PAUSE)
    paused = [
        LaneSpec(spec.trial, spec.hyperparameters, spec.seed, separate.checkpoint(spec.trial), PAUSE) for spec in specs
    ]
    resumed = _train(new_trainer(task, paused, fused=True), PAUSE, STEPS)
    _train(separate, PAUSE, STEPS)
    for spec in specs:
        expected, rates = _plain_loop(task, spec)
        assert len(set(rates)) > 1, f"{spec.trial} changes nothing"
        for trainer in (fused, separate, resumed):
            weights = _weights(trainer, spec)
            assert weights.keys() == expected.keys()
            for name, tensor in weights.items():
                assert float((tensor - expected[name]).abs().max()) <= TOLERANCE, f"{spec.trial} {name}"
