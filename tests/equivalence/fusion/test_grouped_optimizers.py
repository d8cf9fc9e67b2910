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
        for step in range(first_step, first_step + steps) if isinstance(steps, int) else steps:
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


class OwnRule(torch.optim.Optimizer):
    """A user's: its constructor demands a number, and a state is no tensor."""

    def __init__(self, params, lr=0.1, power=1.0):
        super().__init__(params, {"lr": lr, "power": power})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for leaf in (leaf for leaf in group["params"] if leaf.grad is not None):
                state = self.state[leaf]
                state["count"] = state.get("count", 0) + 1
                state["mean"] = state.get("mean", torch.zeros_like(leaf)) * 0.5 + leaf.grad
                leaf -= group["lr"] * state["count"] ** -group["power"] * state["mean"]


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
    "radam": (torch.optim.RAdam, [{"betas": (0.9, 0.7)}, {"lr": 0.02, "weight_decay": 0.1}]),
    "adafactor": (torch.optim.Adafactor, [{"lr": 0.1}, {"weight_decay": 0.1, "maximize": True}]),
    "adadelta": (torch.optim.Adadelta, [{"rho": 0.5}, {"lr": 0.5}]),
    "adamax": (torch.optim.Adamax, [{"lr": 0.01}, {"betas": (0.5, 0.9)}]),
    "asgd": (torch.optim.ASGD, [{"lr": 0.01}, {"t0": 3, "lambd": 0.1}]),
    "rprop": (torch.optim.Rprop, [{"lr": 0.01}, {"etas": (0.3, 1.5)}]),
    "without-twin": (OwnRule, [{"lr": 0.01}, {"lr": 0.02, "power": 0.5}]),
}


SAME_BITS = [case for case in CASES if case != "without-twin"]


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


@pytest.mark.parametrize("case", ["sgd-momentum", "adamw", "nadam", "asgd", "without-twin"])
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
            mine, theirs = (torch.as_tensor(each).double() for each in (state[name][slot], value))
            assert torch.allclose(mine, theirs, rtol=0, atol=1e-12)


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


@pytest.fixture
def by_lane(monkeypatch):
    for rule in (optim.SGD, optim.Adam):
        monkeypatch.setattr(rule, "elements_by_lane", 0)


@pytest.mark.usefixtures("by_lane")
@pytest.mark.parametrize("case", ["sgd", "sgd-momentum", "adam", "adamw"])
def test_large_lanes_step_one_by_one_as_small_ones_do_together(case):
    optimizer_type, options, models, parameters, optimizer = build(case)
    assert optimizer.is_by_lane
    order = [*range(1, len(models)), 0]
    grouped_steps(optimizer, parameters, range(len(models)), range(7))
    state = optimizer.lane_state(0)
    for parameter in parameters.values():
        parameter.data = parameter.detach()[order]
    optimizer.take(order[:-1])
    optimizer.append(state, options[0])
    grouped_steps(optimizer, parameters, order, range(7, STEPS))
    expected = separate(optimizer_type, models, options, STEPS)
    assert_equal_lanes(parameters, [expected[lane] for lane in order])


@pytest.mark.parametrize("case", CASES)
def test_a_skipped_lane_stays_and_goes_on_as_if_the_step_had_not_been(case):
    optimizer_type, options, models, parameters, optimizer = build(case)
    for step in range(6):
        before = {name: parameter.detach()[0].clone() for name, parameter in parameters.items()}
        for name in parameters:
            rows = [gradients(step, lane)[name] for lane in range(len(models))]
            parameters[name].grad = torch.stack(rows)
            if step in (0, 3):
                parameters[name].grad[0] = torch.nan
        optimizer.step(skipped=[0] if step in (0, 3) else [])
        if step in (0, 3):
            assert all(torch.equal(parameters[name][0], value) for name, value in before.items())
    undisturbed = separate(optimizer_type, models, options, 6)
    resumed = separate(optimizer_type, models[:1], options[:1], steps=(1, 2, 4, 5))
    assert_equal_lanes(parameters, [*resumed, *undisturbed[1:]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", [*SAME_BITS, "by-lane-sgd-momentum", "by-lane-adam"])
def test_the_bits_of_a_lane_do_not_depend_on_the_other_lanes(case, dtype, monkeypatch):
    if case.startswith("by-lane-"):
        case = case.removeprefix("by-lane-")
        monkeypatch.setattr(optim.grouped_twin(CASES[case][0]), "elements_by_lane", 0)
    optimizer_type, numbers = CASES[case]
    shapes = [(), (1,), (3,), (33,), (5, 7), (16, 16), (3, 5, 3, 3)]
    generator = torch.Generator().manual_seed(1)
    values = [torch.randn(2, *shape, generator=generator).to(dtype) for shape in shapes]
    steps = [[torch.randn(2, *shape, generator=generator).to(dtype) for shape in shapes] for _ in range(4)]
    blank = optimizer_type([torch.zeros(1, requires_grad=True)]).defaults

    def train(lanes):
        parameters = {str(row): value[lanes].clone().requires_grad_() for row, value in enumerate(values)}
        own = [{name: {**blank, **numbers[lane]} for name in parameters} for lane in lanes]
        optimizer = optim.build_optimizer(optimizer_type, parameters, own)
        for step, rows in enumerate(steps):
            for parameter, gradient in zip(parameters.values(), rows, strict=True):
                parameter.grad = gradient[lanes].clone()
                parameter.grad[torch.tensor(lanes) == 1] *= torch.nan if step == 2 else 1
            optimizer.step()
        return [parameter.detach()[0] for parameter in parameters.values()]

    alone = train([0])
    for lanes in ([0, 1], [0, 0, 0], [0, *[1] * 16]):
        assert all(torch.equal(mine, other) for mine, other in zip(alone, train(lanes), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_bits_of_a_lane_do_not_depend_on_whether_its_neighbours_parameters_have_equal_numbers(dtype):
    shapes = [(33,), (5, 7), ()]
    generator = torch.Generator().manual_seed(1)
    values = [torch.randn(2, *shape, generator=generator).to(dtype) for shape in shapes]
    steps = [[torch.randn(2, *shape, generator=generator).to(dtype) for shape in shapes] for _ in range(4)]

    def train(second):
        parameters = {str(row): value.clone().requires_grad_() for row, value in enumerate(values)}
        optimizer = optim.AdamW(parameters, lr=0.1)
        optimizer.set_options(1, second)
        for rows in steps:
            for parameter, gradient in zip(parameters.values(), rows, strict=True):
                parameter.grad = gradient.clone()
            optimizer.step()
        return [parameter.detach()[0] for parameter in parameters.values()]

    alike, unlike = train({}), train({"1": {"lr": 0.01, "betas": (0.5, 0.7), "eps": 1e-3}})
    assert all(torch.equal(mine, other) for mine, other in zip(alike, unlike, strict=True))


@pytest.mark.parametrize("dtypes", [(torch.float64, torch.float64), (torch.float64, torch.float32)])
@pytest.mark.parametrize("case", ["adam", "adamw"])
def test_parameters_whose_gradients_come_and_go_step_as_those_of_torch(case, dtypes):
    optimizer_type, numbers = CASES[case]
    shapes = {"weight": ((2, 3), dtypes[0]), "bias": ((3,), dtypes[1]), "scale": ((), dtypes[0])}
    generator = torch.Generator().manual_seed(1)
    lanes = len(numbers)
    parameters = {name: torch.randn(lanes, *shape, generator=generator).to(dtype).requires_grad_()
                  for name, (shape, dtype) in shapes.items()}  # fmt: skip
    blank = optimizer_type([torch.zeros(1, requires_grad=True)]).defaults
    options = [{name: {**blank, **given} for name in shapes} for given in numbers]
    alone = [{name: parameter.detach()[lane].clone().requires_grad_() for name, parameter in parameters.items()}
             for lane in range(lanes)]  # fmt: skip
    torches = [optimizer_type(leaves.values(), **given) for leaves, given in zip(alone, numbers, strict=True)]
    optimizer = optim.build_optimizer(optimizer_type, parameters, options)
    for step in range(40):
        for row, (name, parameter) in enumerate(parameters.items()):
            present = step in range(5 * row, 35 + row)
            gradient = torch.randn(parameter.shape, generator=generator).to(parameter) if present else None
            parameter.grad = gradient
            for lane, leaves in enumerate(alone):
                leaves[name].grad = None if gradient is None else gradient[lane].clone()
        optimizer.step()
        for each in torches:
            each.step()
    for lane, leaves in enumerate(alone):
        for name, leaf in leaves.items():
            tolerance = 1e-12 if leaf.dtype is torch.float64 and dtypes[1] is torch.float64 else 1e-5
            assert torch.allclose(parameters[name][lane], leaf, rtol=0, atol=tolerance), (lane, name)


def test_an_optimizer_made_by_its_maker_keeps_its_groups_and_attributes():
    class Counting(torch.optim.SGD):
        def __init__(self, params, lr, factor):
            super().__init__(params, lr=lr)
            self.factor = factor

        def step(self, closure=None):
            for group in self.param_groups:
                group["count"] = group.get("count", 0) + 1
                for leaf in group["params"]:
                    leaf.grad = leaf.grad * self.factor * group["count"] * len(group["params"])
            return super().step(closure)

    models = lane_models(2)
    parameters = stacked(models)
    options = [same_for_all({"lr": 0.1}), same_for_all({"lr": 0.1})]
    options[1]["bias"]["lr"] = 0.2
    makers = [lambda leaves, factor=factor: Counting(leaves.values(), 0.1, factor) for factor in (1.0, 2.0)]
    optimizer = optim.build_optimizer(Counting, parameters, options, makers)
    for step in range(3):
        grouped_steps(optimizer, parameters, range(2), [step])
        optimizer.set_options(0, options[0])
    expected = copy.deepcopy(models)
    for lane, sizes in enumerate(({"weight": 3, "bias": 3, "scale": 3}, {"weight": 2, "bias": 1, "scale": 2})):
        for step in range(3):
            for name, gradient in gradients(step, lane).items():
                rate = options[lane][name]["lr"] * (lane + 1.0) * (step + 1) * sizes[name]
                expected[lane][name] = expected[lane][name] - rate * gradient
    assert_equal_lanes(parameters, expected)
