"""Small nets drawn at random from the op rooms: fused lanes equal separate models in float64."""

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from hydro import optim
from hydro.tuner.fusion.fallback import drawing_from
from hydro.tuner.fusion.fuse import fuse

LANES = 3
TOLERANCE = 1e-10
BATCH = 3


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Beside(nn.Module):
    """Two branches, concatenated."""

    def __init__(self, left, right):
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x):
        return torch.cat([self.left(x), self.right(x)], 1)


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Attention(nn.Module):
    def __init__(self, width, causal):
        super().__init__()
        self.project, self.causal = nn.Linear(width, 3 * width), causal

    def forward(self, x):
        query, key, value = (part.unflatten(-1, (2, -1)).transpose(1, 2) for part in self.project(x).chunk(3, -1))
        return F.scaled_dot_product_attention(query, key, value, is_causal=self.causal).transpose(1, 2).flatten(2)


class Recurrent(nn.Module):
    def __init__(self, kind, width):
        super().__init__()
        self.cell = kind(width, width, batch_first=True)

    def forward(self, x):
        return self.cell(x)[0]


def halves(x):
    first, second = x.chunk(2, 1)
    return torch.stack([first, second], 1).flatten(1, 2) * second.mean()


def centred(x):
    return x - x.mean(-1, keepdim=True) + x.amax(-1, keepdim=True)


ACTIVATIONS = (nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Hardswish, nn.ELU, nn.Softplus)
ANYWHERE = (
    *(lambda shape, kind=kind: kind() for kind in ACTIVATIONS),
    lambda shape: nn.Dropout(0.3),
    lambda shape: Function(centred),
    lambda shape: Function(lambda x: x.softmax(-1)),
    lambda shape: Function(lambda x: x.transpose(1, -1).contiguous().transpose(1, -1)),
)
FEATURES = (
    lambda shape: nn.Linear(shape[0], 5),
    lambda shape: nn.Linear(shape[0], 8, bias=False),
    lambda shape: nn.BatchNorm1d(shape[0]),
    lambda shape: nn.LayerNorm(shape[0]),
    lambda shape: Residual(nn.Sequential(nn.Linear(shape[0], 4), nn.Tanh(), nn.Linear(4, shape[0]))),
    lambda shape: Beside(nn.Linear(shape[0], 3), nn.Identity()),
    lambda shape: Function(lambda x: x.unflatten(1, (-1, 1)).squeeze(-1) * x.sum(1, keepdim=True)),
)
SEQUENCES = (  # [N, L, D]
    lambda shape: nn.Linear(shape[1], 6),
    lambda shape: nn.LayerNorm(shape[1]),
    lambda shape: nn.LayerNorm(shape, bias=False),
    lambda shape: Attention(shape[1], causal=True) if shape[1] % 2 == 0 else nn.Linear(shape[1], 4),
    lambda shape: Residual(Recurrent(nn.GRU, shape[1])),
    lambda shape: Recurrent(nn.LSTM, shape[1]),
    lambda shape: nn.Conv1d(shape[0], 4, 3, padding=1),
    lambda shape: nn.Sequential(nn.BatchNorm1d(shape[0]), nn.AvgPool1d(2, 1)) if shape[1] > 2 else nn.Identity(),
    lambda shape: Function(lambda x: x.cumsum(1)),
)
IMAGES = (  # [N, C, H, W]
    lambda shape: nn.Conv2d(shape[0], 4, 3, padding=1),
    lambda shape: nn.Conv2d(shape[0], 2 * shape[0], 1, groups=shape[0], bias=False),
    lambda shape: nn.BatchNorm2d(shape[0]),
    lambda shape: nn.GroupNorm(1, shape[0]),
    lambda shape: nn.MaxPool2d(2, 1) if min(shape[1:]) > 2 else nn.Identity(),
    lambda shape: nn.AvgPool2d(2) if min(shape[1:]) > 3 else nn.Identity(),
    lambda shape: Residual(nn.Sequential(nn.Conv2d(shape[0], shape[0], 3, padding=1), nn.ReLU())),
    lambda shape: Beside(nn.Conv2d(shape[0], 3, 1), nn.Identity()),
    lambda shape: nn.ConvTranspose2d(shape[0], 3, 2) if max(shape) < 8 else nn.Identity(),
    lambda shape: Function(halves) if shape[0] % 2 == 0 else nn.Identity(),
)
KINDS = {1: FEATURES, 2: SEQUENCES, 3: IMAGES}
STARTS = {"features": (6,), "sequence": (4, 6), "symbols": (4,), "image": (3, 6, 6)}


def build(start, choices, seed):
    """A net: each choice picks a layer among those that fit the shape so far."""
    torch.manual_seed(seed)
    x = example(start)[0]
    layers = [nn.Embedding(7, 6).double()] if start == "symbols" else []
    x = layers[0](x) if layers else x
    for choice in choices:
        shape = tuple(x.shape[1:])
        fitting = (*KINDS[len(shape)], *ANYWHERE)
        layers.append(fitting[choice % len(fitting)](shape).double())
        x = layers[-1](x)
    layers += [nn.Flatten(), nn.Linear(x[0].numel(), 3).double()]
    return nn.Sequential(*layers).train()


def example(start):
    generator = torch.Generator().manual_seed(5)
    if start == "symbols":
        return (torch.randint(7, (BATCH, 4), generator=generator),)
    return (torch.randn(BATCH, *STARTS[start], generator=generator, dtype=torch.float64),)


def train_alone(model, inputs, seed, lr):
    model = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    with drawing_from(torch.Generator().manual_seed(seed)):
        output = model(*inputs)
    output.square().sum().backward()
    gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    optimizer.step()
    return output.detach(), gradients, model.state_dict()


def assert_fused_equals_separate(start, choices):
    inputs = example(start)
    models = [build(start, choices, seed) for seed in range(LANES)]
    rates = [0.01 * (lane + 1) for lane in range(LANES)]
    grouped = fuse(models, inputs)
    grouped.generators = [torch.Generator().manual_seed(40 + lane) for lane in range(LANES)]
    outputs = grouped(*inputs)
    outputs.square().sum().backward()
    gradients = {name: parameter.grad.clone() for name, parameter in grouped.named_parameters()}
    optim.AdamW(dict(grouped.named_parameters()), lr=rates).step()
    for lane, model in enumerate(models):
        output, expected, state = train_alone(model, inputs, 40 + lane, rates[lane])
        assert_near(outputs[lane], output, "output")
        for name, gradient in expected.items():
            assert_near(gradients[name][lane], gradient, f"gradient of {name}")
        for name, tensor in grouped.lane_state_dict(lane).items():
            # Adam's first step is the gradient's sign where the gradient is no more than rounding.
            solid = expected[name].abs() > 1e-6 if name in expected else torch.ones_like(tensor, dtype=torch.bool)
            assert_near(tensor[solid], state[name][solid], name)


def assert_near(one, other, what):
    scale = max(1.0, float(other.double().abs().max())) if other.numel() else 1.0
    assert torch.allclose(one.double(), other.double(), rtol=0, atol=TOLERANCE * scale), what


NETS = st.tuples(st.sampled_from(sorted(STARTS)), st.lists(st.integers(0, 10_000), min_size=1, max_size=5))
BOUNDED = settings(
    derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow],
    report_multiple_bugs=False,
)  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@settings(BOUNDED, max_examples=12)
@given(NETS)
def test_drawn_nets_equal_separate_models(net):
    assert_fused_equals_separate(*net)


@pytest.mark.slow
@settings(BOUNDED, max_examples=150)
@given(NETS)
def test_many_drawn_nets_equal_separate_models(net):
    assert_fused_equals_separate(*net)
