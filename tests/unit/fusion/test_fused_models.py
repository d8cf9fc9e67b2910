"""The public `fuse`."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hydro.tuner import fuse
from hydro.tuner.fusion.lane_programs import same_configuration
from hydro.tuner.fusion.report import Tier


def network(p=0.0):
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(p), nn.Linear(4, 2))


def networks(count, p=0.0):
    models = []
    for seed in range(count):
        torch.manual_seed(seed)
        models.append(network(p))
    return models


INPUT = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


class Data(nn.Module):
    """Its control flow depends on its data."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)

    def forward(self, x):
        y = self.layer(x)
        return y * 2 if y.sum() > 0 else F.dropout(y)


def test_outputs_are_those_of_the_models_in_train_and_eval_mode():
    models = networks(3)
    grouped = fuse(models, (INPUT,))
    for training in (True, False):
        grouped.train(training)
        outputs = grouped(INPUT)
        for lane, model in enumerate(models):
            assert torch.allclose(outputs[lane], model.train(training)(INPUT), atol=1e-5)


def test_the_models_stay_as_they_are():
    models = networks(2)
    before = [{name: tensor.clone() for name, tensor in model.state_dict().items()} for model in models]
    fuse(models, (INPUT,))(INPUT).sum().backward()
    for model, state in zip(models, before, strict=True):
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
        assert all(parameter.grad is None for parameter in model.parameters())


def test_every_lane_may_have_inputs_of_its_own():
    models = networks(2)
    inputs = torch.randn(2, 6, 3)
    outputs = fuse(models, (INPUT,))(inputs, lane_inputs=True)
    for lane, model in enumerate(models):
        assert torch.allclose(outputs[lane], model(inputs[lane]), atol=1e-5)


def test_lanes_are_taken_and_inserted():
    models = networks(4)
    grouped = fuse(models[:3], (INPUT,))
    grouped.take([2, 0])
    grouped.insert(models[3])
    grouped.insert(models[1].state_dict())
    expected = [models[2], models[0], models[3], models[1]]
    outputs = grouped(INPUT)
    assert len(grouped) == 4
    for lane, model in enumerate(expected):
        assert torch.allclose(outputs[lane], model(INPUT), atol=1e-5)


def test_a_lane_with_another_number_joins():
    models = [*networks(2, p=0.5), network(p=0.0)]
    grouped = fuse(models[:2], (INPUT,))
    grouped.generators = [torch.Generator().manual_seed(lane) for lane in range(2)]
    grouped.insert(models[2], torch.Generator().manual_seed(2))
    outputs = grouped(INPUT)
    for lane, model in enumerate(models):
        torch.manual_seed(lane)
        assert torch.allclose(outputs[lane], model(INPUT), atol=1e-5)


def test_a_joining_lane_brings_its_random_stream():
    grouped = fuse(networks(2), (INPUT,))
    grouped.generators = [torch.Generator(), torch.Generator()]
    with pytest.raises(ValueError, match="generator"):
        grouped.insert(network())


def test_a_lane_of_another_shape_is_refused():
    grouped = fuse(networks(2), (INPUT,))
    with pytest.raises(ValueError, match=r"0\.weight has shape \(5, 3\), not \(4, 3\)"):
        grouped.insert(nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2)))


def test_models_with_other_tensors_are_refused():
    with pytest.raises(ValueError, match="model 1 has"):
        fuse([nn.Linear(3, 4), nn.Linear(3, 5)], (INPUT,))


def test_no_models_are_refused():
    with pytest.raises(ValueError, match="no models"):
        fuse([], (INPUT,))


def test_a_model_that_cannot_be_traced_runs_separately_and_says_so():
    models = [Data(), Data()]
    grouped = fuse(models, (INPUT,))
    grouped.generators = [torch.Generator().manual_seed(lane) for lane in range(2)]
    outputs = grouped(INPUT)
    for lane, model in enumerate(models):
        torch.manual_seed(lane)
        assert torch.allclose(outputs[lane], model(INPUT), atol=1e-6)
    assert grouped.report.tiers() == {"Data": Tier.SEPARATE}
    assert "not fused: " in str(grouped.report)
    outputs.sum().backward()
    assert all(parameter.grad is not None for parameter in grouped.parameters())


def test_modules_differ_when_a_plain_attribute_does():
    assert same_configuration(network(0.1), network(0.1))
    assert not same_configuration(network(0.1), network(0.2))
    assert not same_configuration(nn.Sequential(nn.ReLU()), nn.Sequential(nn.Tanh()))
    assert not same_configuration(nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU(), nn.ReLU()))
