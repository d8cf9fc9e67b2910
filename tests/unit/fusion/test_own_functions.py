"""Functions with a backward of their own keep it when models are fused."""

import copy

import pytest
import torch
from torch import nn

from hydro.tuner import fuse
from hydro.tuner.fusion.report import Tier

INPUT = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Rounding(torch.autograd.Function):
    """Rounds, and lets a multiple of the gradient through."""

    @staticmethod
    def forward(ctx, x, scale):
        ctx.scale = scale
        return x.round(), x > 0

    @staticmethod
    def backward(ctx, gradient, _):
        return gradient * ctx.scale, None


class Noise(torch.autograd.Function):
    """Adds noise, and hands on half of the gradient."""

    @staticmethod
    def forward(ctx, x):
        return x + torch.randn_like(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient / 2


APPLY = Rounding.apply


class Quantized(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4).double()

    def forward(self, x):
        y, positive = Rounding.apply(self.layer(x) * 5, 3.0)
        return Noise.apply(y) * positive


class Bound(Quantized):
    def forward(self, x):
        return APPLY(self.layer(x) * 5, 3.0)[0]


def models_of(kind):
    found = []
    for seed in range(3):
        torch.manual_seed(seed)
        found.append(kind().train())
    return found


@pytest.mark.parametrize(("kind", "tier"), [(Quantized, Tier.UNROLLED), (Bound, Tier.SEPARATE)])
def test_gradients_are_those_of_the_functions_own_backward(kind, tier):
    models = models_of(kind)
    grouped = fuse(models, (INPUT,))
    assert grouped.report.count(tier) > 0
    assert "Rounding" in str(grouped.report)
    grouped.generators = [torch.Generator().manual_seed(lane) for lane in range(3)]
    outputs = grouped(INPUT)
    outputs.square().sum().backward()
    for lane, model in enumerate(copy.deepcopy(models)):
        torch.manual_seed(lane)
        own = model(INPUT)
        own.square().sum().backward()
        assert torch.equal(outputs[lane], own)
        assert torch.allclose(dict(grouped.named_parameters())["layer.weight"].grad[lane], model.layer.weight.grad)
