"""Lanes of a GroupedModel that share frozen parameters, come and go, or are wrong."""

import copy
import pickle

import pytest
import torch
from torch import nn

from hydro.tuner import fuse
from hydro.tuner.fusion import lane_programs
from hydro.tuner.fusion.report import Tier

INPUT = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Adapted(nn.Module):
    """An adapter on a frozen backbone."""

    def __init__(self, seed, backbone_seed=0):
        super().__init__()
        torch.manual_seed(backbone_seed)
        self.backbone = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 4)).double().requires_grad_(False)
        self.norm = nn.BatchNorm1d(4).double().requires_grad_(False)
        torch.manual_seed(100 + seed)
        self.down, self.up = nn.Linear(3, 2).double(), nn.Linear(2, 4).double()

    def forward(self, x):
        return self.norm(self.backbone(x) + self.up(self.down(x)))


class WithDropout(nn.Module):
    def __init__(self, seed, p):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(3, 4).double(), nn.Dropout(p))

    def forward(self, x):
        return self.layers(x)


FROZEN = {"backbone.0.weight", "backbone.0.bias", "backbone.2.weight", "backbone.2.bias", "norm.weight", "norm.bias"}


def assert_lanes_equal(grouped, models):
    outputs = grouped(INPUT)
    assert len(outputs) == len(models) == len(grouped)
    for lane, model in enumerate(models):
        assert torch.allclose(outputs[lane], copy.deepcopy(model)(INPUT), rtol=0, atol=1e-12)


def count_traces(monkeypatch):
    calls = []
    real = lane_programs.trace
    monkeypatch.setattr(lane_programs, "trace", lambda *args, **kwargs: calls.append(1) or real(*args, **kwargs))
    return calls


def count_lowerings(monkeypatch):
    calls = []
    real = lane_programs.lower
    monkeypatch.setattr(lane_programs, "lower", lambda *args, **kwargs: calls.append(1) or real(*args, **kwargs))
    return calls


def test_frozen_parameters_that_are_equal_are_kept_once():
    models = [Adapted(seed) for seed in range(3)]
    grouped = fuse(models, (INPUT,))
    shared = dict(grouped.named_shared())
    assert shared.keys() == FROZEN
    assert all(tensor.shape == models[0].state_dict()[name].shape for name, tensor in shared.items())
    assert not FROZEN & dict(grouped.named_parameters()).keys()
    assert_lanes_equal(grouped, models)


def test_what_only_frozen_parameters_compute_runs_once():
    grouped = fuse([Adapted(seed) for seed in range(3)], (INPUT,))
    assert grouped.report.count(Tier.SHARED) == 3
    assert grouped.report.grouped_share == 1.0


def test_a_lanes_state_dict_is_complete_when_parameters_are_shared():
    models = [Adapted(seed) for seed in range(2)]
    fresh = Adapted(7, backbone_seed=7)
    fresh.load_state_dict(fuse(models, (INPUT,)).lane_state_dict(1))
    assert all(torch.equal(tensor, fresh.state_dict()[name]) for name, tensor in models[1].state_dict().items())


def test_lanes_leave_and_join_and_still_share():
    models = [Adapted(seed) for seed in range(4)]
    grouped = fuse(models[:3], (INPUT,))
    grouped.take([2, 0])
    grouped.insert(models[3])
    own = {name: tensor for name, tensor in models[1].state_dict().items() if name not in FROZEN}
    grouped.insert(own)
    assert dict(grouped.named_shared()).keys() == FROZEN
    assert_lanes_equal(grouped, [models[2], models[0], models[3], models[1]])


def test_a_lane_with_other_frozen_values_ends_the_sharing_of_those():
    models = [*(Adapted(seed) for seed in range(2)), Adapted(2, backbone_seed=9)]
    grouped = fuse(models[:2], (INPUT,))
    grouped.insert(models[2])
    # A new norm has the same values whatever the seed.
    assert dict(grouped.named_shared()).keys() == {"norm.weight", "norm.bias"}
    assert_lanes_equal(grouped, models)
    assert not any(parameter.requires_grad for name, parameter in grouped.named_parameters() if name in FROZEN)


def test_frozen_values_of_another_shape_are_refused_and_change_nothing():
    models = [Adapted(seed) for seed in range(2)]
    grouped = fuse(models, (INPUT,))
    wrong = models[0].state_dict() | {"backbone.0.weight": torch.zeros(9, 3)}
    with pytest.raises(ValueError, match=r"backbone\.0\.weight has shape \(9, 3\), not \(8, 3\)"):
        grouped.insert(wrong)
    assert_lanes_equal(grouped, models)


def test_gradients_reach_trained_parameters_alone():
    grouped = fuse([Adapted(seed) for seed in range(2)], (INPUT,))
    grouped(INPUT).square().sum().backward()
    assert all(parameter.grad is not None for parameter in grouped.parameters())
    assert all(tensor.grad is None for _, tensor in grouped.named_shared())


def test_lanes_that_come_and_go_trace_and_lower_nothing_again(monkeypatch):
    models = [Adapted(seed) for seed in range(4)]
    grouped = fuse(models[:2], (INPUT,))
    traces, lowerings = count_traces(monkeypatch), count_lowerings(monkeypatch)
    grouped.take([1])
    grouped.insert(models[2])
    grouped.insert(models[3].state_dict())
    assert_lanes_equal(grouped, [models[1], models[2], models[3]])
    assert not traces and not lowerings


def test_numbers_that_differ_follow_their_lanes_without_lowering_again(monkeypatch):
    models = [WithDropout(seed, p) for seed, p in enumerate((0.0, 1.0, 0.0))]
    grouped = fuse(models, (INPUT,))
    traces, lowerings = count_traces(monkeypatch), count_lowerings(monkeypatch)
    grouped.take([2, 1])
    grouped.insert(WithDropout(5, 1.0))
    assert_lanes_equal(grouped, [models[2], models[1], WithDropout(5, 1.0)])
    assert not traces and not lowerings


def test_a_new_number_traces_its_own_lane_alone(monkeypatch):
    models = [WithDropout(seed, p) for seed, p in enumerate((0.0, 1.0))]
    grouped = fuse(models[:1], (INPUT,))
    traces = count_traces(monkeypatch)
    grouped.insert(models[1])
    assert_lanes_equal(grouped, models)
    assert len(traces) == 1


def test_the_last_lane_leaves_and_another_joins():
    models = [Adapted(seed) for seed in range(2)]
    grouped = fuse(models[:1], (INPUT,))
    grouped.take([])
    assert len(grouped) == 0
    grouped.insert(models[1])
    assert_lanes_equal(grouped, models[1:])


def test_a_copy_goes_its_own_way():
    models = [Adapted(seed) for seed in range(2)]
    grouped = fuse(models, (INPUT,))
    for other in (copy.deepcopy(grouped), pickle.loads(pickle.dumps(grouped))):
        other.take([1])
        assert_lanes_equal(other, models[1:])
    assert_lanes_equal(grouped, models)


def test_inputs_for_another_number_of_lanes_are_named():
    grouped = fuse([Adapted(seed) for seed in range(2)], (INPUT,))
    with pytest.raises(ValueError, match=r"input 0 has shape \(3, 6, 3\): with lane_inputs .* of which there are 2"):
        grouped(torch.stack([INPUT] * 3), lane_inputs=True)
    with pytest.raises(ValueError, match=r"input 0 has shape \(\)"):
        grouped(torch.ones(()), lane_inputs=True)
    grouped.take([])
    with pytest.raises(ValueError, match="there are no lanes"):
        grouped(INPUT)
    with pytest.raises(TypeError, match="give a tuple"):
        fuse([Adapted(0)], INPUT)


def test_as_many_generators_as_lanes_are_asked_for():
    grouped = fuse([WithDropout(seed, 0.5) for seed in range(2)], (INPUT,))
    grouped.generators = [torch.Generator()]
    with pytest.raises(ValueError, match="1 generators for 2 lanes"):
        grouped(INPUT)
