"""Builds of a task whose model does not export, but is there at any width: checked, stored, trained unfused."""

import torch

from hydro.kit.artifacts import read_artifact
from hydro.tuner.building.request import BuildRequest
from hydro.tuner.building.surrogate_build import build
from hydro.tuner.shrinking.solution import Solution
from hydro.tuner.task_loading import load_task
from hydro.tuner.training.build import build_trainer
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.gate import OpenGate
from hydro.tuner.training.lane import LaneSpec

TASK = """
import torch
from torch import nn
from torch.nn import functional as F

from hydro.tuner.task import TrainingTask


class Branching(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.first, self.inner, self.last = nn.Linear(8, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, 4)

    def forward(self, x):
        hidden = self.first(x)
        if hidden.sum() > 0:
            hidden = -hidden
        return self.last(F.relu(self.inner(F.relu(hidden))))


class Unexported(TrainingTask):
    defaults = {"lr": 0.1}

    def model(self, hp):
        return Branching(32)

    def model_at_width(self, hp, width):
        return Branching(round(32 * width))

    def train_batches(self, hp, seed, start_step):
        step = start_step
        while True:
            x = torch.randn(16, 8, generator=torch.Generator().manual_seed(seed * 1000 + step))
            yield x, x[:, :4].argmax(1)
            step += 1

    def validation_batches(self, hp):
        x = torch.randn(32, 8, generator=torch.Generator().manual_seed(1))
        return [(x, x[:, :4].argmax(1))]

    def loss(self, model, batch, hp):
        return F.cross_entropy(model(batch[0]), batch[1])

    def optimizer(self, model, hp):
        return torch.optim.SGD(model.parameters(), lr=hp["lr"])
"""


def test_a_surrogate_by_shapes_is_checked_stored_and_trained_in_separate_models(tmp_path):
    (tmp_path / "unexported_task.py").write_text(TASK)
    result = build(
        BuildRequest(
            "unexported_task:Unexported",
            str(tmp_path),
            0.25,
            {"lr": (0.01, 1.0)},
            "validation_loss",
            str(tmp_path),
            "s.json",
            4,
        )
    )
    assert (result.failure, result.width, result.profile.fused) == ("", 0.25, ())
    assert any("not checked: ops without a rule" in each and "unexported_task.py" in each for each in result.warnings)
    assert {each.layer for each in result.checks.slopes} == {"first", "inner", "last", "the model"}
    solution = Solution.from_json(read_artifact(result.artifact.uri, result.artifact.digest).decode())
    trainer = build_trainer(
        load_task("unexported_task:Unexported", str(tmp_path)),
        width=0.25,
        solution=solution,
        execution=Execution.FUSED,
        lanes=[LaneSpec(str(seed), {"lr": 0.1}, seed) for seed in range(2)],
        data_seed=0,
        gate=OpenGate(),
    )
    trainer.train_step()
    losses = [metrics["validation_loss"] for metrics in trainer.validate(["0", "1"]).values()]
    assert losses[0] != losses[1] and torch.tensor(losses).isfinite().all()
