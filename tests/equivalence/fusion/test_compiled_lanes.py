"""Fused models by way of torch.compile, against the same models trained alone."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from hydro.tuner import fuse
from hydro.tuner.fusion.compiled import bucket

INPUT = torch.randn(8, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
TARGET = torch.randint(3, (8,), generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    """Products, a norm with running statistics and a loss."""

    def __init__(self, seed, dropout=0.0):
        super().__init__()
        torch.manual_seed(seed)
        layers = [nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Dropout(dropout), nn.Linear(5, 3)]
        self.layers = nn.Sequential(*layers).double()

    def forward(self, x, target):
        return nn.functional.cross_entropy(self.layers(x), target)


class Alone:
    """A model of torch's own with torch's own optimizer."""

    def __init__(self, model):
        self.model = copy.deepcopy(model)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)

    def step(self, batch):
        self.optimizer.zero_grad()
        self.model(*batch).backward()
        self.optimizer.step()


@pytest.fixture(autouse=True)
def private_compiler(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    torch._dynamo.reset()
    counters.clear()
    with warnings.catch_warnings():
        # Torch's own, in the compiler.
        warnings.simplefilter("ignore")
        yield
    torch._dynamo.reset()


def step(grouped, batch, lr=0.1):
    grouped(*batch).sum().backward()
    for parameter in grouped.parameters():
        parameter.data -= lr * parameter.grad
        parameter.grad = None


def greatest_difference(grouped, alone):
    pairs = [(grouped.lane_state_dict(lane), each.model.state_dict()) for lane, each in enumerate(alone)]
    return max((own[name] - other[name]).abs().max().item() for own, other in pairs for name in own)


def programs_compiled():
    return counters["stats"]["unique_graphs"]


@pytest.mark.slow
def test_compiled_lanes_come_and_go_within_a_bucket_without_another_compilation_and_equal_models_alone():
    models = [Net(seed) for seed in range(4)]
    grouped, alone = fuse(models[:3], (INPUT, TARGET)).compile(), [Alone(model) for model in models[:3]]

    def train():
        for _ in range(5):
            step(grouped, (INPUT, TARGET))
            for each in alone:
                each.step((INPUT, TARGET))
        assert greatest_difference(grouped, alone) <= 1e-10

    train()
    compiled = programs_compiled()
    assert compiled == 1
    grouped.insert(models[3])
    alone.append(Alone(models[3]))
    train()
    grouped.take([3, 0, 1])
    alone = [alone[index] for index in (3, 0, 1)]
    train()
    assert programs_compiled() == compiled


@pytest.mark.slow
def test_a_compiled_lane_keeps_its_bits_when_a_neighbour_turns_nan():
    gradients = []
    for spoiled in (False, True):
        grouped = fuse([Net(seed).float() for seed in range(3)], (INPUT.float(), TARGET)).compile()
        if spoiled:
            for parameter in grouped.parameters():
                parameter.data[1] = float("nan")
        step(grouped, (INPUT.float(), TARGET))
        gradients.append(grouped.lane_state_dict(2))
    assert programs_compiled() >= 1
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_what_draws_random_numbers_is_left_uncompiled_and_draws_as_each_model_alone():
    models = [Net(seed, dropout=0.5) for seed in range(3)]
    grouped = fuse(models, (INPUT, TARGET)).compile()
    grouped.generators = [torch.Generator().manual_seed(seed) for seed in range(3)]
    losses = grouped(INPUT, TARGET)
    for seed, model in enumerate(models):
        torch.manual_seed(seed)
        assert torch.allclose(losses[seed], copy.deepcopy(model)(INPUT, TARGET), rtol=0, atol=1e-12)
    assert programs_compiled() == 0
    assert grouped.compilation == "not compiled: it draws random numbers"


def test_what_torch_cannot_compile_runs_as_it_is_and_says_why(monkeypatch):
    def refuse(*arguments):
        raise torch._dynamo.exc.Unsupported("no such construct", case_name="a test")

    monkeypatch.setattr(torch, "compile", lambda *args, **kwargs: refuse)
    models = [Net(seed) for seed in range(2)]
    grouped = fuse(models, (INPUT, TARGET)).compile()
    losses = grouped(INPUT, TARGET)
    assert torch.allclose(losses[1], copy.deepcopy(models[1])(INPUT, TARGET), rtol=0, atol=1e-12)
    assert grouped.compilation == "not compiled: torch.compile fails: no such construct"


@pytest.mark.parametrize(("lanes", "count"), [(1, 1), (2, 2), (3, 4), (13, 16), (16, 16), (17, 32), (64, 64)])
def test_lanes_run_compiled_at_the_next_power_of_two(lanes, count):
    assert bucket(lanes) == count


@pytest.mark.slow
def test_lanes_on_a_gpu_equal_models_alone_through_a_captured_graph():
    if not torch.cuda.is_available():
        pytest.skip("no GPU: captured graphs are not run")
    batch = INPUT.cuda(), TARGET.cuda()
    models = [Net(seed).cuda() for seed in range(3)]
    grouped, alone = fuse(models, batch).compile(), [Alone(model) for model in models]
    for _ in range(6):
        step(grouped, batch)
        for each in alone:
            each.step(batch)
    assert grouped.compilation == "compiled"
    assert greatest_difference(grouped, alone) <= 1e-10
