"""Fewer layers: which models have them, and what a surrogate of fewer layers computes and how it is stepped."""

import copy
from functools import cache

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hydro.tuner import shrink
from hydro.tuner.shrinking.depth import NoResidualStack
from hydro.tuner.shrinking.parametrization import Parametrization
from hydro.tuner.shrinking.slopes import fit_slope
from hydro.tuner.shrinking.solution import Solution

ROWS = torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
WIDTH = 16


class Layer(nn.Module):
    def __init__(self, width, scale):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.scale = scale

    def forward(self, x):
        return x + self.scale * self.down(F.gelu(self.up(self.norm(x))))


class PostNorm(Layer):
    def forward(self, x):
        return self.norm(x + self.down(F.gelu(self.up(x))))


class Stack(nn.Module):
    """Layers that add to a stream; `scale` is by what a factory of few layers multiplies their branches."""

    def __init__(self, layers, width=WIDTH, layer=Layer, scale=1.0):
        super().__init__()
        self.first, self.head = nn.Linear(6, width), nn.Linear(width, 3)
        self.layers = nn.ModuleList(layer(width, scale) for _ in range(layers))

    def forward(self, x):
        x = self.first(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def test_half_the_layers_compute_what_a_factory_of_half_the_layers_does_with_doubled_branches():
    shrunk = shrink(Stack(4).double(), (ROWS,), 1.0, depth=1 / 2)
    narrow = Stack(2, scale=2.0).double()
    narrow.load_state_dict(shrunk.model.state_dict())
    for model in (shrunk.model, narrow):
        model(ROWS).square().mean().backward()
    torch.testing.assert_close(shrunk.model(ROWS), narrow(ROWS), rtol=1e-12, atol=1e-12)
    for (name, one), other in zip(shrunk.model.named_parameters(), narrow.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-12, atol=1e-12, msg=name)


def test_depth_and_width_shrink_together_and_fewer_shapes_are_those_of_a_narrow_factory():
    shrunk = shrink(lambda width: Stack(4, round(WIDTH * width)).double(), (ROWS,), 1 / 2, depth=1 / 4)
    expected = {name: each.shape for name, each in Stack(1, WIDTH // 2).named_parameters()}
    assert {name: each.shape for name, each in shrunk.model.named_parameters()} == expected
    assert shrunk.solution.stacks[0].multiplier == 4
    assert "depth 0.25: 1 of 4 layers of layers, each branch times 4" in str(shrunk.report)


def test_a_solution_brings_the_depth_along():
    model = Stack(4).double()
    solution = Solution.from_json(shrink(model, (ROWS,), 1 / 2, depth=1 / 2).solution.to_json())
    again = shrink(model, (ROWS,), 1 / 2, depth=1 / 2, solution=solution)
    assert again.solution is solution
    assert again.model(ROWS).shape == (8, 3)


class TwoStacks(Stack):
    """Has further layers, which the plain one has not."""

    def __init__(self, layers, further):
        super().__init__(layers)
        self.further = nn.ModuleList(Layer(WIDTH, 1.0) for _ in range(further))

    def forward(self, x):
        x = self.first(x)
        for layer in (*self.layers, *self.further):
            x = layer(x)
        return self.head(x)


def test_a_further_stack_of_another_architecture_is_cut_too():
    solution = shrink(Stack(4).double(), (ROWS,), 1 / 2, depth=1 / 2).solution
    shrunk = shrink(TwoStacks(4, 2).double(), (ROWS,), 1 / 2, depth=1 / 2, solution=solution)
    assert [(each.name, each.layers) for each in shrunk.solution.stacks] == [("layers", 2), ("further", 1)]


def test_a_single_layer_is_left_as_it_is():
    shrunk = shrink(Stack(1).double(), (ROWS,), 1.0, depth=1 / 2)
    assert [(each.layers, each.multiplier) for each in shrunk.solution.stacks] == [(1, 1.0)]


@pytest.mark.parametrize("model", [Stack(4, layer=PostNorm), nn.Sequential(nn.Linear(6, 16), nn.Linear(16, 3))])
def test_a_model_without_a_pre_norm_stack_is_refused(model):
    with pytest.raises(NoResidualStack, match="no stack of pre-LN residual layers is found"):
        shrink(model.double(), (ROWS,), 1.0, depth=1 / 2)


def test_gradients_of_branches_are_scaled_out_of_each_optimizers_numbers():
    rules: Parametrization = shrink(Stack(4).double(), (ROWS,), 1.0, depth=1 / 2).parametrization
    inside, outside = "layers.1.up.weight", "first.weight"
    assert rules.factors(inside, torch.optim.SGD).lr == 1 / 2
    assert rules.factors(inside, torch.optim.SGD, {"weight_decay": 0.1}).weight_decay == 2
    adam = rules.factors(inside, torch.optim.AdamW)
    assert (adam.lr, adam.weight_decay, adam.eps) == (1, 1, 2)
    adagrad = rules.factors(inside, torch.optim.Adagrad)
    assert (adagrad.lr, adagrad.eps, adagrad.squares) == (1, 2, 4)
    assert rules.factors(outside, torch.optim.SGD) == rules.factors(outside, torch.optim.AdamW)


LAYERS, DEPTHS = 8, (1 / 8, 1 / 4, 1)


@cache
def surrogate(depth):
    torch.manual_seed(0)
    return shrink(Stack(LAYERS).double(), (ROWS,), 1.0, depth=depth)


def movement(depth, seed, optimizer_type, *, is_scaled):
    """How far a few steps move what the stack gives, for the surrogate or for the same model with plain branches."""
    shrunk = surrogate(depth)
    shrunk.initialize(seed)
    model = shrunk.model
    if not is_scaled:
        model = Stack(round(LAYERS * depth)).double()
        model.load_state_dict(shrunk.model.state_dict())
    trained = [each for name, each in model.named_parameters() if name.startswith("layers.")]
    optimizer = optimizer_type(trained, lr=1e-3)
    if is_scaled:
        shrunk.parametrization.apply(optimizer, model)
    before = copy.deepcopy(model)(ROWS).detach()
    for _ in range(3):
        optimizer.zero_grad()
        (model(ROWS) - 1).square().mean().backward()
        optimizer.step()
    return float((model(ROWS) - before).detach().square().mean().sqrt())


@pytest.mark.parametrize("optimizer_type", [torch.optim.SGD, torch.optim.AdamW])
def test_coordinates_move_alike_at_every_depth_and_without_the_rule_they_do_not(optimizer_type):
    def slope(*, is_scaled):
        moved = [
            [{"stack": movement(depth, seed, optimizer_type, is_scaled=is_scaled)} for seed in range(3)]
            for depth in DEPTHS
        ]
        return fit_slope("stack", DEPTHS, moved)

    assert abs(slope(is_scaled=True).slope) < 0.25
    assert slope(is_scaled=False).slope > 0.5
