"""Library models for sequences, fused without a change to their code, against the same models trained alone.

A key's bias has no effect on attention: its gradient is 0, of which rounding leaves some 1e-18. AdamW divides that by
its own size plus eps, so that lanes drift apart there by about lr * 1e-18 / eps a step: losses are means, which keeps
it below the tolerance.
"""

import copy

import pytest
import torch
from torch.utils import _pytree as pytree

from hydro.optim import build_optimizer
from hydro.tuner.fusion.fallback import drawing_from
from hydro.tuner.fusion.fuse import fuse
from hydro.tuner.fusion.report import Tier
from zoo.comparison import TOLERANCE, distance, floats, fused_share, one_thread
from zoo.torch_models import TORCH_MODELS
from zoo.transformers_models import TRANSFORMERS_MODELS

STEPS = 20
ZOO = (*TRANSFORMERS_MODELS, *TORCH_MODELS)

OPTIMIZERS = {
    "SGD": (torch.optim.SGD, [{"lr": 0.05, "momentum": 0.9}, {"lr": 0.1, "momentum": 0.5}, {"lr": 0.02}]),
    "AdamW": (
        torch.optim.AdamW,
        [{"lr": 1e-3}, {"lr": 3e-3, "betas": (0.8, 0.9), "weight_decay": 0.1}, {"lr": 2e-3, "eps": 1e-6}],
    ),
}


@pytest.fixture(autouse=True)
def single_threaded():
    with one_thread():
        yield


def make_lanes(model, count=3):
    lanes = []
    for seed in range(count):
        torch.manual_seed(seed)
        lanes.append(model.make().double())
    return lanes


def make_batches(model, count):
    generator = torch.Generator().manual_seed(7)
    return [model.inputs(generator) for _ in range(count)]


def make_streams(lanes):
    return [torch.Generator().manual_seed(100 + lane) for lane in range(len(lanes))]


def loss_of(output, lanes=None):
    """The model's own loss, or the mean distance of what it gives from 1; summed over lanes where there are any."""
    loss = getattr(output, "loss", None)
    if loss is not None:
        return loss.sum()
    rows = ((each.flatten(1) if lanes else each.flatten()[None]) for each in floats(output))
    return sum((each - 1).square().mean(1).sum() for each in rows)


def assert_equal(one, other, what):
    assert distance(one, other) <= TOLERANCE, what


class Alone:
    """A lane by itself, in plain PyTorch."""

    def __init__(self, model, optimizer, options, stream):
        self.model, self.stream = copy.deepcopy(model), stream
        self.optimizer = optimizer(self.model.parameters(), **options)

    def step(self, batch):
        self.optimizer.zero_grad()
        with drawing_from(self.stream):
            output = self.model(*batch)
        loss_of(output).backward()
        gradients = {name: own.grad for name, own in self.model.named_parameters()}
        self.optimizer.step()
        return output, gradients


def lane_options(model, optimizer, options):
    (group,) = optimizer(model.parameters(), **options).param_groups
    return {
        name: {key: value for key, value in group.items() if key != "params"} for name, _ in model.named_parameters()
    }


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("model", ZOO, ids=str)
def test_twenty_steps_equal_those_of_models_alone(model, optimizer):
    kind, options = OPTIMIZERS[optimizer]
    lanes, batches = make_lanes(model), make_batches(model, STEPS)
    alone = [Alone(*each) for each in zip(lanes, [kind] * 3, options, make_streams(lanes), strict=True)]
    grouped = fuse(lanes, batches[0])
    grouped.generators = make_streams(lanes)
    stepping = build_optimizer(
        kind, dict(grouped.named_parameters()), [lane_options(lanes[0], kind, each) for each in options]
    )
    for number, batch in enumerate(batches):
        stepping.zero_grad()
        output = grouped(*batch)
        loss_of(output, len(lanes)).backward()
        gradients = {name: own.grad for name, own in grouped.named_parameters()}
        separate = [each.step(batch) for each in alone]
        if number == 0:
            assert_same_gradients(gradients, [own for _, own in separate])
        for lane, (own, _) in enumerate(separate):
            assert type(own) is type(output)
            for one, other in zip(floats(output), floats(own), strict=True):
                assert_equal(one[lane], other, (number, lane))
        stepping.step()
    for lane, each in enumerate(alone):
        for name, tensor in grouped.lane_state_dict(lane).items():
            assert_equal(tensor, each.model.state_dict()[name], (lane, name))


def assert_same_gradients(grouped, separate):
    for lane, own in enumerate(separate):
        for name, gradient in own.items():
            assert_equal(
                grouped[name][lane], torch.zeros_like(grouped[name][lane]) if gradient is None else gradient, name
            )


@pytest.mark.parametrize("model", ZOO, ids=str)
def test_nothing_is_separate_and_nine_in_ten_calls_are_grouped(model):
    lanes, (batch,) = make_lanes(model, 2), make_batches(model, 1)
    grouped = fuse(lanes, batch)
    for report in (grouped.report, grouped.eval().report):
        assert report.count(Tier.SEPARATE) == 0, report
        assert fused_share(report) >= 0.9, report


@pytest.mark.parametrize("model", ZOO, ids=str)
def test_eval_mode_equals_that_of_models_alone(model):
    lanes, (batch,) = make_lanes(model), make_batches(model, 1)
    grouped = fuse(lanes, batch).eval()
    output = grouped(*batch)
    for lane, each in enumerate(lanes):
        own = each.eval()(*batch)
        assert pytree.tree_structure(own) == pytree.tree_structure(output)
        for one, other in zip(floats(output), floats(own), strict=True):
            assert_equal(one[lane], other, lane)


@pytest.mark.parametrize("model", ZOO, ids=str)
def test_a_lane_loads_into_the_unmodified_model(model):
    lanes, (batch,) = make_lanes(model, 2), make_batches(model, 1)
    grouped = fuse(lanes, batch).eval()
    fresh = model.make().double()
    fresh.load_state_dict(grouped.lane_state_dict(1))
    for one, other in zip(floats(fresh.eval()(*batch)), floats(grouped(*batch)), strict=True):
        assert_equal(one, other[1], "loaded")
