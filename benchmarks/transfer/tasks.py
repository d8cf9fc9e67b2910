"""What is trained: tasks as a user writes them, whose `width` says how wide the model is built.

The digits are seen through fresh noise at every step, so that no run memorizes its thousand images: the loss stays that
of a hard problem, and a relative regret means something.

Under SGD readouts start at zero, at every width and in both arms, as TP-V recommends (appendix D.2): drawn values that
suit the gradients behind them at every width give a narrow model larger first outputs. Under AdamW, which divides the
size of gradients out, they are drawn as torch does.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from hydro.tuner.task import Hyperparameters, TrainingTask
from hydro.tuner.task_loading import load_task

EXAMPLES = str(Path(__file__).parents[2] / "examples")
TRAINING_SAMPLES = 997
HEAD_SIZE = 32
Batch = tuple[Tensor, Tensor]


@cache
def example(entry_point: str) -> TrainingTask:
    """A task of the examples."""
    return load_task(entry_point, EXAMPLES)


@cache
def digits() -> tuple[Tensor, Tensor]:
    """Shape: images [1797, 1, 8, 8], standardized; labels [1797]."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x_NCHW = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8)[order]
    return (x_NCHW - x_NCHW.mean()) / x_NCHW.std(), torch.tensor(labels)[order]


class NoisyDigits(TrainingTask):
    """Ten classes behind noise; SGD with momentum, a warm-up and a cosine to zero."""

    defaults: ClassVar[dict[str, Any]] = {
        "lr": 0.1, "momentum": 0.9, "width": 1024, "batch_size": 64, "steps": 150, "noise": 1.0,
        "schedule": "cosine",
    }  # fmt: skip

    def train_batches(self, hp: Hyperparameters, seed: int, start_step: int) -> Iterator[Batch]:
        """Chosen and noised anew at each step."""
        step = start_step
        while True:
            generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
            chosen = torch.randint(TRAINING_SAMPLES, (hp["batch_size"],), generator=generator)
            yield _noisy(chosen, hp["noise"], generator)
            step += 1

    def validation_batches(self, hp: Hyperparameters) -> list[Batch]:
        """Each of the other images behind noise, twice."""
        generator = torch.Generator().manual_seed(1)
        chosen = torch.arange(TRAINING_SAMPLES, len(digits()[1])).repeat(2)
        return [_noisy(part, hp["noise"], generator) for part in torch.split(chosen, 200)]

    def loss(self, model: nn.Module, batch: Batch, hp: Hyperparameters) -> Tensor:
        """Cross entropy."""
        images, labels = batch
        return F.cross_entropy(model(images), labels)

    def optimizer(self, model: nn.Module, hp: Hyperparameters) -> Optimizer:
        """SGD."""
        return torch.optim.SGD(model.parameters(), lr=hp["lr"], momentum=hp["momentum"])

    def lr_scheduler(self, optimizer: Optimizer, hp: Hyperparameters) -> LambdaLR | None:
        """A tenth of the steps up, the rest down to zero; or constant."""
        if hp["schedule"] == "constant":
            return None
        steps = int(hp["steps"])
        warmup = max(1, steps // 10)

        def factor(step: int) -> float:
            progress: float = max(0.0, min(1.0, (step - warmup) / (steps - warmup)))
            return min(1.0, (step + 1) / warmup) * (0.5 + 0.5 * math.cos(math.pi * progress))

        return LambdaLR(optimizer, factor)


class PerceptronDigits(NoisyDigits):
    """Two hidden layers and He's initial values."""

    def model(self, hp: Hyperparameters) -> nn.Module:
        """64 inputs, two hidden layers of `width`."""
        sizes = [64, hp["width"], hp["width"], 10]
        first, second, readout = (nn.Linear(*pair) for pair in zip(sizes, sizes[1:], strict=False))
        for layer in (first, second):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        return from_zero(nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), readout), readout)


class ConvolutionDigits(NoisyDigits):
    """Three convolutions with batch norm."""

    defaults: ClassVar[dict[str, Any]] = {**NoisyDigits.defaults, "width": 256, "batch_size": 32}

    def model(self, hp: Hyperparameters) -> nn.Module:
        """`width` channels in the two last ones, half as many in the first."""
        width = int(hp["width"])
        sizes = [(1, width // 2), (width // 2, width), (width, width)]
        first, second, third = (
            nn.Sequential(nn.Conv2d(*pair, 3, padding=1, bias=False), nn.BatchNorm2d(pair[1]), nn.ReLU())
            for pair in sizes
        )
        readout = nn.Linear(width, 10)
        pooled = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), readout)
        return from_zero(nn.Sequential(first, nn.MaxPool2d(2), second, third, *pooled), readout)


class TransformerDigits(NoisyDigits):
    """A small vision transformer; AdamW."""

    defaults: ClassVar[dict[str, Any]] = {
        **NoisyDigits.defaults, "lr": 1e-3, "width": 256, "batch_size": 32, "weight_decay": 0.1,
    }  # fmt: skip

    def model(self, hp: Hyperparameters) -> nn.Module:
        """Two blocks of `width`."""
        return VisionTransformer(hp["width"])

    def optimizer(self, model: nn.Module, hp: Hyperparameters) -> Optimizer:
        """AdamW."""
        return torch.optim.AdamW(model.parameters(), lr=hp["lr"], betas=(0.9, 0.95), weight_decay=hp["weight_decay"])


class VisionTransformer(nn.Module):
    """Patches of 2 x 2 to ten classes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 2, stride=2)
        self.position = nn.Parameter(torch.randn(16, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.readout = nn.Linear(width, 10)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        x_NLD: Tensor = self.patches(images_NCHW).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            x_NLD = block(x_NLD)
        logits_NC: Tensor = self.readout(self.norm(x_NLD).mean(1))
        return logits_NC


class Block(nn.Module):
    """Attention and a two-layer perceptron, each behind a layer norm and beside a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_SIZE
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.perceptron_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x_NLD: Tensor) -> Tensor:
        x_NLD = x_NLD + self.attend(self.attention_norm(x_NLD))
        hidden_NLD: Tensor = F.gelu(self.up(self.perceptron_norm(x_NLD)))
        added_NLD: Tensor = x_NLD + self.down(hidden_NLD)
        return added_NLD

    def attend(self, x_NLD: Tensor) -> Tensor:
        samples, length, width = x_NLD.shape
        query, key, value = (
            part.view(samples, length, self.heads, HEAD_SIZE).transpose(1, 2)
            for part in self.query_key_value(x_NLD).split(width, dim=2)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        projected_NLD: Tensor = self.projection(mixed.transpose(1, 2).reshape(samples, length, width))
        return projected_NLD


def from_zero(model: nn.Module, readout: nn.Module) -> nn.Module:
    """The model, its readout's parameters set to zero."""
    for parameter in readout.parameters():
        nn.init.zeros_(parameter)
    return model


def _noisy(chosen: Tensor, noise: float, generator: torch.Generator) -> Batch:
    images, labels = digits()
    picked = images[chosen]
    return picked + noise * torch.randn(picked.shape, generator=generator), labels[chosen]
