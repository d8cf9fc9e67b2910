"""Separate models' optimizers on torch's fused kernels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer

from hydro.tuner.training.fused_kernels import use_fused_kernels

BUILDERS = [
    lambda parameters: SGD(parameters, lr=0.01, momentum=0.9, weight_decay=1e-3, nesterov=True),
    lambda parameters: SGD(parameters, lr=0.01, momentum=0.9, dampening=0.2, maximize=True),
    lambda parameters: Adam(parameters, lr=0.01, weight_decay=1e-3, amsgrad=True),
    lambda parameters: AdamW(parameters, lr=0.01),
    lambda parameters: Adagrad(parameters, lr=0.01, lr_decay=0.1, initial_accumulator_value=0.2),
]


def train(build: Callable[..., Optimizer], *, fused: bool) -> list[torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    optimizer = build(model.parameters())
    if fused:
        use_fused_kernels(optimizer)
        assert all(group["fused"] for group in optimizer.param_groups)
    for _ in range(20):
        optimizer.zero_grad()
        model(torch.randn(4, 5, dtype=torch.float64)).square().sum().backward()
        optimizer.step()
    return [parameter.detach() for parameter in model.parameters()]


@pytest.mark.parametrize("build", BUILDERS)
def test_the_fused_kernel_makes_the_same_updates(build: Callable[..., Optimizer]) -> None:
    for mine, theirs in zip(train(build, fused=True), train(build, fused=False), strict=True):
        assert float((mine - theirs).abs().max()) <= 1e-10


@pytest.mark.parametrize("chosen", [{"fused": False}, {"foreach": True}, {"differentiable": True}])
def test_an_implementation_that_the_author_chose_stays(chosen: dict[str, bool]) -> None:
    optimizer = SGD([nn.Parameter(torch.zeros(3))], lr=0.01, **chosen)
    use_fused_kernels(optimizer)
    assert not optimizer.param_groups[0]["fused"]


def test_a_class_of_the_authors_own_is_left_as_it_is() -> None:
    class Own(SGD):
        pass

    optimizer = Own([nn.Parameter(torch.zeros(3))], lr=0.01)
    use_fused_kernels(optimizer)
    assert not optimizer.param_groups[0]["fused"]
