"""Where float32 takes another order of operations than torch, which float64 keeps: equal up to float32's rounding."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hydro import optim
from hydro.nn import functional as grouped
from hydro.tuner import fuse

SHAPES = [(1, 1, 1), (2, 3, 5), (4, 16, 16), (5, 33, 7), (16, 32, 10), (3, 128, 96)]


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("lanes", [1, 2, 5])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_linear_maps_in_float32_equal_those_of_float64(shape, lanes, has_bias):
    samples, inputs, outputs = shape
    generator = torch.Generator().manual_seed(0)
    sizes = [(lanes, samples, inputs), (lanes, outputs, inputs), *[(lanes, outputs)] * has_bias]
    double = [torch.randn(size, generator=generator, dtype=torch.float64, requires_grad=True) for size in sizes]
    single = [each.detach().float().requires_grad_() for each in double]
    expected = torch.stack([F.linear(*rows) for rows in zip(*double, strict=True)])
    expected.square().sum().backward()
    given = grouped.linear(*single)
    given.square().sum().backward()
    torch.testing.assert_close(given.double(), expected, rtol=1e-4, atol=1e-4)
    for one, other in zip(single, double, strict=True):
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("size", [(3, 4), (100, 100)], ids=["together", "by lane"])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_adam_in_float32_steps_as_torch_does(size, amsgrad):
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(2, *size, generator=generator)
    gradients = [torch.randn(2, *size, generator=generator) for _ in range(10)]
    parameter = start.clone().requires_grad_()
    together = optim.AdamW({"weight": parameter}, lr=[0.01, 0.02], amsgrad=amsgrad)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        together.step()
    for lane, lr in enumerate((0.01, 0.02)):
        alone = start[lane].clone().requires_grad_()
        optimizer = torch.optim.AdamW([alone], lr=lr, amsgrad=amsgrad)
        for gradient in gradients:
            alone.grad = gradient[lane].clone()
            optimizer.step()
        torch.testing.assert_close(parameter[lane], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(3, 4), (100, 100)], ids=["together", "by lane"])
@pytest.mark.parametrize(
    ("plain", "twin", "numbers"),
    [
        (torch.optim.AdamW, optim.AdamW, {"weight_decay": 0.1}),
        (torch.optim.SGD, optim.SGD, {"weight_decay": 0.1, "momentum": 0.9}),
    ],
    ids=["adamw", "sgd"],
)
def test_optimizers_in_float64_give_the_bits_of_torch(plain, twin, numbers, size):
    generator = torch.Generator().manual_seed(0)
    parameter = torch.randn(2, *size, generator=generator, dtype=torch.float64).requires_grad_()
    alone = parameter.detach()[1].clone().requires_grad_()
    together = twin({"weight": parameter}, lr=[0.01, 0.02], **numbers)
    optimizer = plain([alone], lr=0.02, **numbers)
    for _ in range(20):
        parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        alone.grad = parameter.grad[1].clone()
        together.step()
        optimizer.step()
    assert torch.equal(parameter[1], alone)


def test_a_convolutional_net_in_float64_gives_the_bits_of_the_model_alone():
    def make(seed):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, groups=2),
            nn.BatchNorm2d(16), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5),
        ).double()  # fmt: skip

    models = [make(seed) for seed in range(3)]
    x = torch.randn(4, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    together = fuse(models, (x,))
    together(x).square().sum().backward()
    for lane, model in enumerate(models):
        model(x).square().sum().backward()
        own = dict(model.named_parameters())
        assert all(torch.equal(p.grad[lane], own[name].grad) for name, p in together.named_parameters())
