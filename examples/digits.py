"""A residual convolutional net on scikit-learn's handwritten digits: 1,797 real 8 x 8 images, shipped with it."""

from collections.abc import Iterator
from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from hydro.worker import TrainingTask

TRAINING_SAMPLES = 997  # the other 800 are for validation


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Images, standardized, and labels, in an order of their own that does not change."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x_NCHW = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8)[order]
    return (x_NCHW - x_NCHW.mean()) / x_NCHW.std(), torch.tensor(labels)[order]


class Residual(nn.Module):
    """Two convolutions and the input, added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        hidden_NCHW = F.relu(self.first_norm(self.first(x_NCHW)))
        return F.relu(x_NCHW + self.second_norm(self.second(hidden_NCHW)))


class Digits(TrainingTask):
    """Ten classes, cross entropy, SGD. `channels` are those of the widest stage."""

    defaults = {"lr": 0.1, "momentum": 0.9, "batch_size": 64, "weight_decay": 0.0, "channels": 128}

    def model(self, hp):
        narrow, wide = hp["channels"] // 2, hp["channels"]
        return nn.Sequential(
            nn.Conv2d(1, narrow, 3, padding=1, bias=False),
            nn.BatchNorm2d(narrow),
            nn.ReLU(),
            Residual(narrow),
            nn.MaxPool2d(2),
            nn.Conv2d(narrow, wide, 3, padding=1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(),
            Residual(wide),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(wide, 10),
        )

    def train_batches(self, hp, seed, start_step) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = (tensor[:TRAINING_SAMPLES] for tensor in digits())
        per_epoch = len(labels) // hp["batch_size"]
        step = start_step
        while True:
            epoch, index = divmod(step, per_epoch)
            generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
            order = torch.randperm(len(labels), generator=generator)
            for chosen in order.split(hp["batch_size"])[index:per_epoch]:
                yield images[chosen], labels[chosen]
                step += 1

    def validation_batches(self, hp):
        images, labels = (tensor[TRAINING_SAMPLES:] for tensor in digits())
        return list(zip(images.split(100), labels.split(100), strict=True))

    def loss(self, model, batch, hp):
        images, labels = batch
        return F.cross_entropy(model(images), labels)

    def optimizer(self, model, hp):
        return torch.optim.SGD(
            model.parameters(), lr=hp["lr"], momentum=hp["momentum"], weight_decay=hp["weight_decay"]
        )

    def metrics(self, model, batch, hp):
        images, labels = batch
        return {"accuracy": (model(images).argmax(1) == labels).float().mean()}
