"""Every optimizer of torch.optim, fused against separate models in plain PyTorch, in float64."""

import copy
import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hydro import optim
from hydro.tuner.fusion.fuse import fuse

STEPS = 20
TOLERANCE = 1e-10
REFUSED = {"LBFGS", "SparseAdam"}

# Muon orthogonalizes in bfloat16: a gradient that differs in its last bit may round to the next bfloat16, which differs
# by 2^-8 of it. One such step moves a weight by less than lr * 2^-8 * 4 (the iteration's gain on one entry).
MUON_TOLERANCE = 20 * 0.02 * 2**-8 * 4

# What differs among three lanes; a new optimizer of torch fails here until it is listed.
LANES = {
    "ASGD": [{}, {"lr": 0.03, "lambd": 0.01, "alpha": 0.5}, {"t0": 5, "weight_decay": 0.1, "maximize": True}],
    "Adadelta": [{}, {"lr": 0.5, "rho": 0.7, "weight_decay": 0.1}, {"eps": 1e-4, "maximize": True}],
    "Adafactor": [{}, {"lr": 0.02, "beta2_decay": -0.5, "d": 1.5}, {"eps": (1e-8, 1e-2), "weight_decay": 0.2}],
    "Adagrad": [{}, {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1}, {"initial_accumulator_value": 0.3, "eps": 1e-5}],
    "Adam": [
        {"amsgrad": True},
        {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1},
        {"eps": 1e-3, "maximize": True},
    ],
    "AdamW": [{}, {"lr": 0.01, "betas": (0.7, 0.95), "weight_decay": 0.3}, {"amsgrad": True, "maximize": True}],
    "Adamax": [{}, {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.1}, {"eps": 1e-4, "maximize": True}],
    "Muon": [{}, {"lr": 0.02, "nesterov": False, "ns_steps": 3}, {"momentum": 0.8, "adjust_lr_fn": "match_rms_adamw"}],
    "NAdam": [{}, {"momentum_decay": 0.1, "weight_decay": 0.1}, {"weight_decay": 0.2, "decoupled_weight_decay": True}],
    "RAdam": [{}, {"betas": (0.8, 0.7), "weight_decay": 0.1}, {"weight_decay": 0.2, "decoupled_weight_decay": True}],
    # A centered variance is a difference that may be all rounding: a larger eps keeps it out of the quotient.
    "RMSprop": [{}, {"alpha": 0.9, "momentum": 0.5}, {"centered": True, "eps": 1e-3, "maximize": True}],
    "Rprop": [{}, {"lr": 0.003, "etas": (0.4, 1.3)}, {"step_sizes": (1e-4, 0.01), "maximize": True}],
    "SGD": [{"momentum": 0.0}, {"lr": 0.02, "momentum": 0.9, "nesterov": True}, {"momentum": 0.8, "dampening": 0.3}],
}


class Convolutions(nn.Module):
    """No bias before a batch norm: its gradient is 0 but for rounding, and adaptive rules divide by it."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(2, 6, 3, bias=False), nn.BatchNorm2d(6)
        self.second, self.head = nn.Conv2d(6, 4, 3, stride=2), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.second(F.silu(self.norm(self.first(x)))).tanh().mean((2, 3)))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 8), nn.Linear(6, 3)
        self.lstm = nn.LSTM(8, 6, batch_first=True)

    def forward(self, x):
        return self.head(self.lstm(self.embedding(x))[0][:, -1])


def perceptron():
    """Large enough for a fused kernel of each lane's own."""
    return nn.Sequential(nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 128), nn.LayerNorm(128), nn.Linear(128, 3))


def matrices():
    return nn.Sequential(nn.Linear(12, 24, bias=False), nn.Tanh(), nn.Linear(24, 3, bias=False))


NETS = {
    "perceptron": (perceptron, lambda generator: torch.randn(8, 64, generator=generator, dtype=torch.float64)),
    "convolutions": (Convolutions, lambda generator: torch.randn(6, 2, 9, 9, generator=generator, dtype=torch.float64)),
    "recurrent": (Recurrent, lambda generator: torch.randint(11, (7, 5), generator=generator)),
}
MATRICES = (matrices, lambda generator: torch.randn(8, 12, generator=generator, dtype=torch.float64))


def optimizers_of_torch():
    classes = [value for value in vars(torch.optim).values() if isinstance(value, type)]
    return sorted(each.__name__ for each in classes if issubclass(each, torch.optim.Optimizer)
                  and each is not torch.optim.Optimizer)  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def nets():
    """By name: three models, their fused program, and a function that gives step i's batch."""
    return {name: build(*net) for name, net in [*NETS.items(), ("matrices", MATRICES)]}


def build(make, draw):
    torch.manual_seed(3)
    models = [make().double() for _ in range(3)]

    def batch(step):
        generator = torch.Generator().manual_seed(step)
        inputs = draw(generator)
        return inputs, torch.randint(3, (len(inputs),), generator=generator)

    return models, fuse(models, (batch(0)[0],)), batch


def separate_steps(model, optimizer, batch, steps):
    for step in steps:
        inputs, labels = batch(step)
        F.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        optimizer.zero_grad()


def lane_options(name, model, numbers):
    """The first parameter has a learning rate of its own, as parameter groups give it."""
    defaults = getattr(torch.optim, name)([torch.zeros(2, 2, requires_grad=True)]).defaults
    options = {parameter: {**defaults, **numbers} for parameter, _ in model.named_parameters()}
    next(iter(options.values()))["lr"] *= 0.5
    return options


def plain_optimizer(name, model, options):
    kind = getattr(torch.optim, name)
    plain = {key: False for key in ("foreach", "fused") if key in next(iter(options.values()))}
    groups = [{"params": [leaf], **options[key], **plain} for key, leaf in model.named_parameters()]
    # The constructor's own arguments count too: Adagrad takes its first sums from them alone.
    own = next(reversed(options.values()))
    return kind(groups, **{key: value for key, value in own.items() if key == "initial_accumulator_value"})


def fused_lanes(name, models, grouped, batch, options, steps):
    for model in models:
        grouped.take([1, 2])
        grouped.insert(model)
    parameters = dict(grouped.named_parameters())
    optimizer = optim.build_optimizer(getattr(torch.optim, name), parameters, options)
    for step in range(steps):
        inputs, labels = batch(step)
        outputs_GND = grouped(inputs)
        sum(F.cross_entropy(outputs, labels) for outputs in outputs_GND).backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def difference(state, model):
    own = model.state_dict()
    assert state.keys() == own.keys()
    return max(float((state[key].double() - own[key].double()).abs().max()) for key in own)


CASES = [(name, net) for name in optimizers_of_torch() if name not in REFUSED for net in
         (["matrices"] if name == "Muon" else NETS)]  # fmt: skip


@pytest.mark.parametrize(("name", "net"), CASES)
def test_twenty_steps_of_every_optimizer_equal_separate_models(nets, name, net):
    models, grouped, batch = nets[net]
    options = [lane_options(name, model, numbers) for model, numbers in zip(models, LANES[name], strict=True)]
    optimizer = fused_lanes(name, models, grouped, batch, options, STEPS)
    tolerance = MUON_TOLERANCE if name == "Muon" else TOLERANCE
    for lane, model in enumerate(models):
        alone = copy.deepcopy(model)
        plain = plain_optimizer(name, alone, options[lane])
        separate_steps(alone, plain, batch, range(STEPS))
        assert difference(grouped.lane_state_dict(lane), alone) <= tolerance
        assert difference(model.state_dict(), alone) > 1e-3
        state = optimizer.lane_state(lane)
        for key, leaf in alone.named_parameters():
            assert {slot: value.shape for slot, value in plain.state[leaf].items()} == {
                slot: value.shape for slot, value in state.get(key, {}).items()
            }


@pytest.mark.parametrize(("name", "net"), [case for case in CASES if case[1] != "perceptron"])
def test_a_lane_goes_on_in_the_optimizer_of_torch(nets, name, net):
    models, grouped, batch = nets[net]
    options = [lane_options(name, model, numbers) for model, numbers in zip(models, LANES[name], strict=True)]
    optimizer = fused_lanes(name, models, grouped, batch, options, 6)
    alone, resumed = copy.deepcopy(models[1]), copy.deepcopy(models[1])
    separate_steps(alone, plain_optimizer(name, alone, options[1]), batch, range(9))
    resumed.load_state_dict(grouped.lane_state_dict(1))
    plain = plain_optimizer(name, resumed, options[1])
    state = optimizer.lane_state(1)
    slots = {row: state[key] for row, (key, _) in enumerate(resumed.named_parameters())}
    plain.load_state_dict({**plain.state_dict(), "state": slots})
    separate_steps(resumed, plain, batch, range(6, 9))
    assert difference(resumed.state_dict(), alone) <= (MUON_TOLERANCE if name == "Muon" else TOLERANCE)


@pytest.mark.parametrize("name", LANES)
def test_a_twin_has_the_arguments_of_torch(name):
    twin = optim.grouped_twin(getattr(torch.optim, name))
    own, theirs = (inspect.signature(kind).parameters for kind in (twin, getattr(torch.optim, name)))
    ways_to_run = {"foreach", "fused", "capturable", "differentiable"}
    expected = {key: each.default for key, each in theirs.items() if key not in ways_to_run}
    assert {key: each.default for key, each in own.items()} == expected


def test_what_needs_a_closure_or_sparse_gradients_is_refused():
    weight = {"weight": torch.ones(2, 3, requires_grad=True)}
    with pytest.raises(optim.UnsupportedOptimizer, match="LBFGS evaluates the loss several times in one step"):
        optim.build_optimizer(torch.optim.LBFGS, weight, [{}, {}])
    with pytest.raises(optim.UnsupportedOptimizer, match="SparseAdam takes sparse gradients"):
        optim.build_optimizer(torch.optim.SparseAdam, weight, [{}, {}])
