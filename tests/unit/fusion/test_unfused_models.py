"""Models that do not fuse run unfused, say why, and do all else as fused ones do."""

import copy
import random

import pytest
import torch
from torch import nn

from hydro import optim
from hydro.tuner import fuse
from hydro.tuner.fusion.report import Tier

INPUT = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Unfusible(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4).double()


class Branching(Unfusible):
    def forward(self, x):
        y = self.layer(x)
        return y * 2 if y.sum() > 0 else y.tanh()


class Counting(Unfusible):
    def forward(self, x):
        y = self.layer(x)
        return y * int((y > 0).sum().item())


class Unseen(Unfusible):
    def forward(self, x):
        y = self.layer(x)
        return torch.from_numpy(y.detach().numpy() ** 2) * y


class Numbering(Unfusible):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.layer(x) / self.calls


class Averaging(Unfusible):
    def __init__(self):
        super().__init__()
        self.average = torch.ones(4, dtype=torch.float64)

    def forward(self, x):
        y = self.layer(x)
        self.average.mul_(0.9).add_(0.1 * y.detach().mean(0))
        return y - self.average


class Remembering(Unfusible):
    def __init__(self):
        super().__init__()
        self.last = []

    def forward(self, x):
        y = self.layer(x)
        self.last.append(y.detach()[0])
        return y - self.last[-2] if len(self.last) > 1 else y


MODELS = {
    "branch": Branching,
    "number": Counting,
    "numpy": Unseen,
    "own-number": Numbering,
    "own-tensor": Averaging,
    "own-list": Remembering,
}


class Caching(Unfusible):
    def __init__(self):
        super().__init__()
        self.scale, self.seen = None, None

    def forward(self, x):
        if self.scale is None:
            self.scale = torch.arange(4.0, dtype=torch.float64)
        self.seen = self.layer(x) * self.scale
        return self.seen


TOTAL = torch.zeros(4, dtype=torch.float64)


class Totalling(Unfusible):
    def forward(self, x):
        return self.layer(x) + TOTAL.add_(1)


class Jittering(Unfusible):
    def forward(self, x):
        return self.layer(x) * random.random()


@pytest.mark.parametrize(("kind", "reason"), [(Totalling, "aten.add_"), (Jittering, "random numbers")])
def test_what_a_trace_would_freeze_outside_of_the_model_is_refused_too(kind, reason):
    report = fuse(models_of(kind, 2), (INPUT,)).report
    assert report.count(Tier.SEPARATE) == 1
    assert reason in report.reason


def test_a_cache_is_no_state():
    models = models_of(Caching, 2)
    assert fuse(models, (INPUT,)).report.grouped_share == 1
    assert models[0].scale is None


def models_of(kind, count):
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        found.append(kind().train())
    return found


@pytest.mark.parametrize("name", MODELS)
def test_a_model_that_does_not_fuse_says_which_line_and_trains_as_alone(name):
    models = models_of(MODELS[name], 3)
    grouped = fuse(models, (INPUT,))
    assert grouped.report.count(Tier.SEPARATE) == 1
    assert "test_unfused_models.py:" in grouped.report.reason
    alone = copy.deepcopy(models)
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1 * (lane + 1)) for lane, model in enumerate(alone)]
    optimizer = optim.AdamW(dict(grouped.named_parameters()), lr=[0.1, 0.2, 0.3])
    for _ in range(3):
        grouped(INPUT).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        for model, own in zip(alone, optimizers, strict=True):
            model(INPUT).square().sum().backward()
            own.step()
            own.zero_grad()
    for lane, model in enumerate(alone):
        for key, tensor in grouped.lane_state_dict(lane).items():
            assert torch.allclose(tensor, model.state_dict()[key], rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", MODELS)
def test_lanes_of_a_model_that_does_not_fuse_come_go_and_have_inputs_of_their_own(name):
    models = models_of(MODELS[name], 4)
    grouped = fuse(models[:3], (INPUT,))
    grouped(INPUT)
    # What a lane keeps beside its tensors stays with it; one that comes as a state_dict has none.
    for model in (models[0], models[2]):
        model(INPUT)
    grouped.take([2, 0])
    grouped.insert(models[3])
    grouped.insert(models[1].state_dict())
    own = torch.stack([INPUT[:4] * scale for scale in (1, 2, 3, 4)])
    outputs = grouped(own, lane_inputs=True)
    for lane, model in enumerate((models[2], models[0], models[3], models[1])):
        assert torch.allclose(outputs[lane], model(own[lane]), rtol=0, atol=1e-12)


def test_a_lane_with_infinite_gradients_leaves_the_bits_of_the_others_under_a_scaler():
    x = INPUT.float()

    def train(poison):
        models = [nn.Linear(3, 4) for _ in range(3)]
        for seed, model in enumerate(models):
            nn.init.normal_(model.weight, generator=torch.Generator().manual_seed(seed))
            nn.init.zeros_(model.bias)
        grouped = fuse(models, (x,))
        optimizer = optim.AdamW(dict(grouped.named_parameters()), lr=0.1)
        scaler = optim.GradScaler("cpu", init_scale=8.0, lanes=3)
        for step in range(3):
            losses = grouped(x).square().mean((1, 2))
            scale = torch.tensor([1.0, torch.inf if poison and step == 1 else 1.0, 1.0])
            scaler.scale(losses * scale).sum().backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        return [grouped.lane_state_dict(lane) for lane in range(3)]

    clean, dirty = train(False), train(True)
    for lane in (0, 2):
        assert all(torch.equal(tensor, clean[lane][key]) for key, tensor in dirty[lane].items())
    assert all(tensor.isfinite().all() for tensor in dirty[1].values())
    assert not torch.equal(dirty[1]["weight"], clean[1]["weight"])
