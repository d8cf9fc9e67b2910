"""The check of the rule of depth: right where layers only add, told by name where a task has a rule of its own."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hydro.tuner.building.verifying import towards_the_target
from hydro.tuner.shrinking.depth_check import DepthCheck, check_depths
from hydro.tuner.shrinking.slopes import LayerSlope
from hydro.tuner.shrinking.surrogate import build_surrogate
from hydro.tuner.task import TrainingTask

LAYERS, WIDTH = 8, 16


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Stream(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(6, WIDTH), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


class Right(TrainingTask):
    defaults = {"lr": 1e-3}

    def model(self, hp):
        return Stream()

    def train_batches(self, hp, seed, start_step):
        generator = torch.Generator().manual_seed(seed)
        while True:
            yield torch.randn(16, 6, generator=generator)

    def loss(self, model, batch, hp):
        return (model(batch) - batch[:, :3].sin()).square().mean()

    def optimizer(self, model, hp):
        return torch.optim.AdamW(model.parameters(), lr=hp["lr"])


class WithARuleOfItsOwn(Right):
    def optimizer(self, model, hp):
        return torch.optim.AdamW(model.parameters(), lr=hp["lr"] * (len(model.layers) / LAYERS) ** 1.5)


def checked(task):
    return check_depths(task, task.defaults, build_surrogate(task, task.defaults, 1 / 2, depth=1 / 4))


def test_layers_that_only_add_pass_and_those_at_other_places_are_not_compared():
    found = checked(Right())
    assert found.depths == (1 / 4, 1 / 2, 1)
    assert [each.layer for each in found.layers] == ["first", "layers.0.up", "layers.0.down", "head"]
    assert found.failures == ()


def test_a_rule_of_the_tasks_own_for_the_number_of_layers_fails_by_name():
    told = " ".join(checked(WithARuleOfItsOwn()).failures)
    assert "the output of head changes more with more layers (slope +1" in told
    assert "leave the depth at 1" in told


@pytest.mark.parametrize(("slope", "told"), [(0.1, 0), (0.4, 1), (1.0, 0)])
def test_what_the_initial_stream_explains_is_a_warning(slope, told):
    assert len(DepthCheck((1 / 2, 1), (LayerSlope("head", slope, 0.05),)).warnings) == told


def test_a_ladder_of_fewer_layers_climbs_towards_the_target_in_depth_too():
    task = Right()
    narrowest = build_surrogate(task, task.defaults, 1 / 4, depth=1 / 8).solution
    solution_at = towards_the_target(task, task.defaults, narrowest)
    found = [(each.width, each.stacks[0].layers) for each in map(solution_at, (1 / 4, 1 / 2))]
    assert found == [(1 / 4, 1), (1 / 2, 2)]
    assert solution_at(1.0) is None
