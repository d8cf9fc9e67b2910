"""A small perceptron whose worker writes down each part of a segment that a gate let in."""

import os
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from hydro.squeezer.worker_gate import WorkerGate
from hydro.worker import TrainingTask


def stamp_segments():
    admit, directory = WorkerGate._admit, os.environ.get("HYDRO_GATE_DIRECTORY")
    if directory is None or hasattr(admit, "__wrapped__"):
        return
    stamps = (Path(directory) / f"segments-{os.getpid()}").open("a", buffering=1)

    def stamped(gate, *arguments, **keywords):
        admission = admit(gate, *arguments, **keywords)
        stamps.write(f"{gate._page.path.name} {admission.wait} {admission.started_ns} {admission.deadline_ns}\n")
        return admission

    stamped.__wrapped__ = admit
    WorkerGate._admit = stamped


stamp_segments()


class StampedPerceptron(TrainingTask):
    """Two classes of points."""

    defaults = {"lr": 0.1, "batch_size": 16}

    def model(self, hp):
        return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))

    def train_batches(self, hp, seed, start_step):
        step = start_step
        while True:
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
