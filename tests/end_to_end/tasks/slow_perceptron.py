"""A tiny perceptron whose batches come slowly, so that its bundles can be hit while they train."""

import os
import time

import torch
from torch import nn
from torch.nn import functional as F

from hydro.worker import TrainingTask


class SlowPerceptron(TrainingTask):
    """Two classes of points. `batch_seconds` is how long a worker waits for each batch."""

    defaults = {"lr": 0.1, "batch_size": 16, "batch_seconds": 0.0}

    def model(self, hp):
        return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))

    def train_batches(self, hp, seed, start_step):
        step = start_step
        while True:
            # In a worker alone: the tuner measures many steps before a study starts.
            if "HYDRO_WORKER_DEVICE" in os.environ:
                time.sleep(hp["batch_seconds"])
            yield points(hp["batch_size"], seed * 100_003 + step)
            step += 1

    def validation_batches(self, hp):
        return [points(64, seed=1)]

    def loss(self, model, batch, hp):
        x_ND, y_N = batch
        return F.cross_entropy(model(x_ND), y_N)

    def optimizer(self, model, hp):
        return torch.optim.SGD(model.parameters(), lr=hp["lr"])


def points(count, seed):
    x_ND = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return x_ND, (x_ND[:, 0] > 0).long()
