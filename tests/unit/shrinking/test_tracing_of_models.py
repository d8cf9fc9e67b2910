from pathlib import Path

import pytest
import torch
from torch import nn

from hydro.tuner.task import TrainingTask
from hydro.tuner.tracing import LossModule, MetricsModule, NotTraceable, location, trace

aten = torch.ops.aten


class Branching(nn.Module):
    def forward(self, x):
        if x.sum() > 0:  # the line that cannot be exported
            return x
        return -x


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.symbol = nn.Embedding(5, 4)
        self.readout = nn.Linear(4, 5, bias=False)
        self.readout.weight = self.symbol.weight

    def forward(self, i):
        return self.readout(self.symbol(i))


class WithoutGradient(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, x):
        with torch.no_grad():
            factor = self.scale * x.mean()
        return factor * self.scale * x


class Task(TrainingTask):
    def loss(self, model, batch, hp):
        return model(batch["x"]).square().mean() * hp["factor"]

    def metrics(self, model, batch, hp):
        return {"largest": model(batch["x"]).max()}


def line_of(text):
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_a_model_that_branches_on_data_is_not_traceable_and_its_line_is_named():
    with pytest.raises(NotTraceable) as raised:
        trace(Branching(), (torch.ones(2),), train=True)
    assert raised.value.location == f"test_tracing_of_models.py:{line_of('if x.sum() > 0')}"
    assert raised.value.location in str(raised.value)


def test_tied_parameters_share_a_first_name():
    traced = trace(Tied(), (torch.tensor([1]),), train=True)
    assert traced.aliases == {"symbol.weight": "symbol.weight", "readout.weight": "symbol.weight"}


def test_tracing_leaves_the_model_its_mode_and_the_random_state_as_they_are():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5))
    model[0].eval()
    before = torch.get_rng_state()
    trace(model, (torch.randn(4, 3, generator=torch.Generator().manual_seed(0)),), train=True)
    assert (model.training, model[0].training) == (True, False)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model[0].running_mean, torch.zeros(3))


def test_a_losss_parameters_are_named_after_the_model():
    model, batch = nn.Linear(3, 2), {"x": torch.ones(4, 3)}
    traced = trace(LossModule(Task(), model, {"factor": 2.0}), (batch,), train=True)
    assert sorted(traced.parameters.values()) == ["model.bias", "model.weight"]
    assert len(traced.inputs) == 1


def test_metrics_are_the_loss_and_the_tasks_own():
    module = MetricsModule(Task(), nn.Linear(3, 2), {"factor": 2.0})
    found = module({"x": torch.ones(4, 3)})
    assert sorted(found) == ["largest", "validation_loss"]


def test_a_block_without_gradients_is_inlined_and_stays_without():
    traced = trace(WithoutGradient(), (torch.ones(2),), train=True)
    targets = [node.target for node in traced.graph.nodes if node.op == "call_function"]
    assert torch.ops.higher_order.wrap_with_set_grad_enabled not in targets
    program = torch.fx.GraphModule(traced.program.graph_module, traced.graph)
    scale = nn.Parameter(torch.tensor(3.0))
    (result,) = program(scale, torch.ones(2))
    result.sum().backward()
    assert float(scale.grad) == 6.0


def test_a_node_without_a_line_of_the_users_is_told_by_its_module():
    traced = trace(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (torch.ones(3, 2, 2),), train=True)
    (linear,) = traced.graph.find_nodes(op="call_function", target=aten.linear.default)
    assert location(linear) == "module 1"
