"""Clipping and loss scaling by lane, against torch's own on each lane alone."""

import copy

import pytest
import torch
from torch.nn import utils

from hydro import optim

SHAPES = {"weight": (5, 7), "bias": (3,), "scale": ()}
LANES = 3


def stacked_parameters(scale=1.0):
    generator = torch.Generator().manual_seed(5)
    parameters = {}
    for name, shape in SHAPES.items():
        parameters[name] = torch.randn(LANES, *shape, generator=generator, dtype=torch.float64).requires_grad_()
        parameters[name].grad = scale * torch.randn(LANES, *shape, generator=generator, dtype=torch.float64)
    return parameters


def lane_parameters(parameters, lane):
    leaves = [parameter.detach()[lane].clone().requires_grad_() for parameter in parameters.values()]
    for leaf, parameter in zip(leaves, parameters.values(), strict=True):
        leaf.grad = parameter.grad[lane].clone()
    return leaves


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, float("inf")])
def test_a_lane_is_clipped_to_its_own_norm(norm_type):
    parameters, bounds = stacked_parameters(), [0.1, 2.0, 1e6]
    lanes = [lane_parameters(parameters, lane) for lane in range(LANES)]
    norm_G = optim.clip_grad_norm_(parameters.values(), bounds, norm_type)
    for lane, leaves in enumerate(lanes):
        expected = utils.clip_grad_norm_(leaves, bounds[lane], norm_type)
        assert torch.allclose(norm_G[lane], expected, rtol=0, atol=1e-12)
        for leaf, parameter in zip(leaves, parameters.values(), strict=True):
            assert torch.allclose(parameter.grad[lane], leaf.grad, rtol=0, atol=1e-12)


def test_a_lane_is_clipped_to_its_own_value():
    parameters, bounds = stacked_parameters(), [0.1, 0.5, 10.0]
    lanes = [lane_parameters(parameters, lane) for lane in range(LANES)]
    optim.clip_grad_value_(parameters.values(), bounds)
    for lane, leaves in enumerate(lanes):
        utils.clip_grad_value_(leaves, bounds[lane])
        for leaf, parameter in zip(leaves, parameters.values(), strict=True):
            assert torch.equal(parameter.grad[lane], leaf.grad)


@pytest.mark.parametrize("clip", [optim.clip_grad_norm_, optim.clip_grad_value_])
def test_clipping_a_lane_of_nan_leaves_the_bits_of_others(clip):
    with_nan, without = stacked_parameters(), stacked_parameters()
    with_nan["weight"].grad[1, 0, 0] = torch.nan
    for parameters in (with_nan, without):
        clip(parameters.values(), 0.3)
    for mine, other in zip(with_nan.values(), without.values(), strict=True):
        assert torch.equal(mine.grad[[0, 2]], other.grad[[0, 2]])
    assert not with_nan["weight"].grad[1].isfinite().all()


def test_a_norm_that_is_not_finite_is_an_error_where_asked():
    parameters = stacked_parameters()
    parameters["bias"].grad[2] = torch.inf
    with pytest.raises(RuntimeError, match=r"not finite in the lanes \[2\]"):
        optim.clip_grad_norm_(parameters.values(), 1.0, error_if_nonfinite=True)


OVERFLOWS = {0: (), 1: (0, 1, 5), 2: (3,)}
SETTINGS = {"init_scale": [2.0**16, 8.0, 2.0], "growth_factor": [2.0, 3.0, 2.0], "growth_interval": [2, 3, 4]}


def gradients_of(step, lane):
    generator = torch.Generator().manual_seed(100 * step + lane)
    rows = {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in SHAPES.items()}
    if step in OVERFLOWS[lane]:
        rows["bias"][0] = torch.inf if step else torch.nan
    return rows


def scaled_steps(scaler, optimizer, parameters, steps):
    for step in steps:
        rows = [gradients_of(step, lane) for lane in range(LANES)]
        scale_G = scaler.scale(torch.ones(LANES, dtype=torch.float64))
        for name, parameter in parameters.items():
            parameter.grad = torch.stack([row[name] * scale for row, scale in zip(rows, scale_G, strict=True)])
        scaler.step(optimizer)
        scaler.update()


def test_a_lane_scales_and_skips_as_with_the_scaler_of_torch():
    parameters = stacked_parameters()
    start = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    optimizer = optim.AdamW(parameters, lr=[0.1, 0.2, 0.3])
    scaler = optim.GradScaler("cpu", **SETTINGS, lanes=LANES)
    scaled_steps(scaler, optimizer, parameters, range(9))
    for lane in range(LANES):
        leaves = {name: tensor[lane].clone().requires_grad_() for name, tensor in start.items()}
        plain = torch.optim.AdamW(leaves.values(), lr=0.1 * (lane + 1))
        own = torch.amp.GradScaler("cpu", **{name: values[lane] for name, values in SETTINGS.items()})
        for step in range(9):
            scale = own.scale(torch.ones((), dtype=torch.float64))
            for name, gradient in gradients_of(step, lane).items():
                leaves[name].grad = gradient * scale
            own.step(plain)
            own.update()
        assert scaler.lane_state(lane) == own.state_dict()
        for name, leaf in leaves.items():
            assert torch.allclose(parameters[name][lane], leaf, rtol=0, atol=1e-12)
            assert float(optimizer.lane_state(lane)[name]["step"]) == float(plain.state[leaf]["step"])


def test_lanes_take_their_scales_with_them():
    scaler = optim.GradScaler("cpu", **SETTINGS, lanes=LANES)
    states = [scaler.lane_state(lane) for lane in range(LANES)]
    scaler.take([2, 0])
    scaler.append(states[1])
    assert [scaler.lane_state(lane) for lane in range(LANES)] == [states[2], states[0], states[1]]


def test_a_scaler_that_is_off_does_nothing():
    parameters, scaler = stacked_parameters(), optim.GradScaler("cpu", enabled=False, lanes=LANES)
    before = copy.deepcopy({name: parameter.grad for name, parameter in parameters.items()})
    losses = torch.rand(LANES)
    assert torch.equal(scaler.scale(losses), losses)
    scaler.step(optim.SGD(parameters, lr=0.1))
    scaler.update()
    assert all(torch.equal(parameters[name].grad, gradient) for name, gradient in before.items())
    assert scaler.lane_state(0) == {}
