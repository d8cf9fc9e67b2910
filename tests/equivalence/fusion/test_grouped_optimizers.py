"""Grouped optimizers against one torch optimizer per lane."""

import copy

import pytest
import torch

from hydro import optim

STEPS = 20
SHAPES = {"weight": (3, 4), "bias": (3,), "scale": ()}


def lane_models(lanes):
    generator = torch.Generator().manual_seed(7)
    return [
        {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in SHAPES.items()}
        for _ in range(lanes)
    ]


def gradients(step, lane):
    generator = torch.Generator().manual_seed(1000 * step + lane)
    return {name: torch.randn(shape, generator=generator, dtype=torch.float64) for name, shape in SHAPES.items()}


def separate(optimizer_type, models, options, steps, first_step=0):
    models = copy.deepcopy(models)
    for lane, (model, given) in enumerate(zip(models, options, strict=True)):
        leaves = {name: tensor.requires_grad_() for name, tensor in model.items()}
        optimizer = optimizer_type([{"params": [leaf], **given.get(name, {})} for name, leaf in leaves.items()])
        for step in range(first_step, first_step + steps):
            for name, gradient in gradients(step, lane).items():
                leaves[name].grad = gradient
            optimizer.step()
    return models


def stacked(models):
    return {name: torch.stack([model[name].detach() for model in models]).requires_grad_() for name in SHAPES}


def grouped_steps(optimizer, parameters, lane_ids, steps):
    for step in steps:
        rows = [gradients(step, lane) for lane in lane_ids]
        for name, parameter in parameters.items():
            parameter.grad = torch.stack([row[name] for row in rows])
        optimizer.step()
        optimizer.zero_grad()


def assert_equal_lanes(parameters, models, tolerance=1e-12):
    for lane, model in enumerate(models):
        for name, tensor in model.items():
            assert torch.allclose(parameters[name][lane], tensor, rtol=0, atol=tolerance), (lane, name)


def same_for_all(options):
    return {name: dict(options) for name in SHAPES}


CASES = {
    "sgd": (torch.optim.SGD, [{"lr": 0.1 * (lane + 1)} for lane in range(3)]),
    "sgd-momentum": (
        torch.optim.SGD,
        [
            {"lr": 0.1, "momentum": 0.0, "dampening": 0.3},
            {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1},
            {"lr": 0.03, "momentum": 0.5, "dampening": 0.2, "maximize": True},
            {"lr": 0.04, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01},
        ],
    ),
    "adam": (
        torch.optim.Adam,
        [
            {"lr": 0.1, "betas": (0.8, 0.99)},
            {"lr": 0.01, "betas": (0.9, 0.4), "eps": 1e-3, "weight_decay": 0.1},
            {"lr": 0.02, "amsgrad": True},
            {"lr": 0.0, "maximize": True},
        ],
    ),
    "adamw": (
        torch.optim.AdamW,
        [{"lr": 0.1, "weight_decay": 0.3}, {"lr": 0.01, "betas": (0.7, 0.95), "maximize": True}, {"amsgrad": True}],
    ),
    "rmsprop": (torch.optim.RMSprop, [{"lr": 0.01}, {"lr": 0.02, "alpha": 0.9, "momentum": 0.5, "centered": True}]),
    "adagrad": (torch.optim.Adagrad, [{"lr": 0.1}, {"lr": 0.2, "lr_decay": 0.1}]),
    "nadam": (torch.optim.NAdam, [{"lr": 0.01}, {"lr": 0.02, "weight_decay": 0.1}]),
}


def build(case):
    optimizer_type, lane_options = CASES[case]
    options = [same_for_all(given) for given in lane_options]
    for given in options:
        given["bias"]["lr"] = 3 * given["bias"].get("lr", 1e-3)
    if optim.grouped_twin(optimizer_type):
        blank = same_for_all(optimizer_type([torch.zeros(1, requires_grad=True)]).defaults)
        options = [{name: {**blank[name], **given[name]} for name in SHAPES} for given in options]
    models = lane_models(len(options))
    parameters = stacked(models)
    return optimizer_type, options, models, parameters, optim.build_optimizer(optimizer_type, parameters, options)


@pytest.mark.parametrize("case", CASES)
def test_every_lane_steps_as_its_own_torch_optimizer(case):
    optimizer_type, options, models, parameters, optimizer = build(case)
    grouped_steps(optimizer, parameters, range(len(models)), range(STEPS))
    assert_equal_lanes(parameters, separate(optimizer_type, models, options, STEPS))


@pytest.mark.parametrize("case", CASES)
def test_lanes_that_leave_and_come_back_equal_undisturbed_ones(case):
    optimizer_type, options, models, parameters, optimizer = build(case)
    order = [*range(1, len(models)), 0]
    grouped_steps(optimizer, parameters, range(len(models)), range(STEPS // 2))
    state = optimizer.lane_state(0)
    values = {name: parameter.detach()[0].clone() for name, parameter in parameters.items()}
    for name, parameter in parameters.items():
        parameter.data = torch.cat([parameter.detach()[1:], values[name][None]])
    optimizer.take(order[:-1])
    optimizer.append(state, options[0])
    grouped_steps(optimizer, parameters, order, range(STEPS // 2, STEPS))
    expected = separate(optimizer_type, models, options, STEPS)
    assert_equal_lanes(parameters, [expected[lane] for lane in order])


def test_a_fresh_lane_starts_as_a_new_torch_optimizer():
    optimizer_type, options, models, parameters, optimizer = build("adamw")
    grouped_steps(optimizer, parameters, range(3), range(5))
    fresh = lane_models(4)[3]
    for name, parameter in parameters.items():
        parameter.data = torch.cat([parameter.detach()[:0], fresh[name][None]])
    optimizer.take([])
    optimizer.append({}, options[1])
    grouped_steps(optimizer, parameters, [0], range(5, 12))
    assert_equal_lanes(parameters, separate(optimizer_type, [fresh], [options[1]], 7, first_step=5))


@pytest.mark.parametrize("case", ["sgd-momentum", "adamw", "nadam"])
def test_a_lane_state_is_the_state_of_torch(case):
    optimizer_type, options, models, parameters, optimizer = build(case)
    grouped_steps(optimizer, parameters, range(len(models)), range(3))
    state = optimizer.lane_state(1)
    lane = {name: tensor.clone().requires_grad_() for name, tensor in models[1].items()}
    plain = optimizer_type([{"params": [leaf], **options[1][name]} for name, leaf in lane.items()])
    for step in range(3):
        for name, gradient in gradients(step, 1).items():
            lane[name].grad = gradient
        plain.step()
    for name, leaf in lane.items():
        expected = {slot: value for slot, value in plain.state[leaf].items() if value is not None}
        assert set(expected) <= set(state[name])
        for slot, value in expected.items():
            assert torch.allclose(state[name][slot].double(), value.double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", ["sgd-momentum", "adam", "rmsprop"])
def test_numbers_change_between_steps(case):
    optimizer_type, options, models, parameters, optimizer = build(case)
    grouped_steps(optimizer, parameters, range(len(models)), range(4))
    middle = separate(optimizer_type, models, options, 4)
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    assert_equal_lanes(before, middle)
    for lane in range(len(models)):
        optimizer.set_options(lane, {name: {"lr": 0.0, "weight_decay": 0.0} for name in SHAPES})
    grouped_steps(optimizer, parameters, range(len(models)), [4])
    assert_equal_lanes(parameters, middle)
    optimizer.set_number("lr", torch.full((len(models),), 0.5, dtype=torch.float64))
    grouped_steps(optimizer, parameters, range(len(models)), [5])
    assert not torch.allclose(parameters["weight"], before["weight"])


def test_arguments_are_those_of_torch_with_a_value_for_each_lane():
    weight = torch.ones(2, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer = optim.SGD([{"params": [weight]}, {"params": [bias], "lr": 0.0}], lr=torch.tensor([0.1, 0.2]))
    weight.grad, bias.grad = torch.ones_like(weight), torch.ones_like(bias)
    optimizer.step()
    assert torch.allclose(weight[:, 0], torch.tensor([0.9, 0.8], dtype=torch.float64))
    assert torch.equal(bias, torch.ones(2, dtype=torch.float64))


def test_a_wrong_number_of_values_is_refused():
    with pytest.raises(ValueError, match="lr has 3 values for 2 lanes"):
        optim.SGD({"weight": torch.ones(2, 3, requires_grad=True)}, lr=[0.1, 0.2, 0.3])


def test_a_parameter_without_gradient_is_left_alone():
    used, unused = (torch.ones(2, 3, requires_grad=True) for _ in range(2))
    optimizer = optim.AdamW({"used": used, "unused": unused}, lr=0.1)
    used.grad = torch.ones_like(used)
    optimizer.step()
    assert torch.equal(unused, torch.ones(2, 3))
    assert set(optimizer.lane_state(0)) == {"used"}
