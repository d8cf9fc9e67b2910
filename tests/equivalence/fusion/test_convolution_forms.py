"""Every form of a convolution over lanes, and what stands beside it in a convolutional net."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import hydro.nn
from hydro.tuner.fusion import lower
from hydro.tuner.fusion.equivalence import measure_difference
from hydro.tuner.fusion.fuse import fuse
from hydro.tuner.fusion.layout import channels_innermost
from hydro.tuner.ops.pooling import mean_of_plane
from hydro.tuner.tracing import trace


class Squared(nn.Module):
    """So that no two places have the same gradient."""

    def forward(self, x):
        return x.square()


def chain(*layers):
    return nn.Sequential(*layers, Squared())


LINE, PLANE, VOLUME = (3, 4, 11), (3, 4, 9, 8), (2, 2, 6, 5, 7)

FORMS = {
    "line": (lambda: chain(nn.Conv1d(4, 6, 3), nn.Conv1d(6, 5, 2, bias=False)), LINE),
    "plane": (lambda: chain(nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 5, (1, 3), bias=False)), PLANE),
    "volume": (lambda: chain(nn.Conv3d(2, 3, 3, padding=1), nn.Conv3d(3, 4, (1, 2, 3))), VOLUME),
    "one-channel": (lambda: chain(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 3), nn.Conv2d(1, 2, 3)), (3, 1, 9, 8)),
    "pointwise": (lambda: chain(nn.Conv2d(4, 8, 1), nn.Conv2d(8, 4, 1, stride=2)), PLANE),
    "strides": (lambda: chain(nn.Conv2d(4, 6, 3, (2, 1), 1), nn.Conv2d(6, 5, 3, (1, 2))), PLANE),
    "dilation": (lambda: chain(nn.Conv2d(4, 6, 3, dilation=(2, 1)), nn.Conv2d(6, 5, 2, dilation=2)), PLANE),
    "same": (lambda: chain(nn.Conv2d(4, 6, (2, 3), padding="same"), nn.Conv2d(6, 5, 3, padding="valid")), PLANE),
    "groups": (lambda: chain(nn.Conv2d(4, 6, 3, groups=2), nn.Conv2d(6, 9, 3, padding=1, groups=3)), PLANE),
    "depthwise": (lambda: chain(nn.Conv2d(4, 8, 3, groups=4), nn.Conv2d(8, 8, 3, padding=1, groups=8)), PLANE),
    "transposed-line": (lambda: chain(nn.ConvTranspose1d(4, 6, 3, 2, 1, 1), nn.ConvTranspose1d(6, 2, 2)), LINE),
    "transposed-plane": (
        lambda: chain(nn.ConvTranspose2d(4, 6, 3, 2, 1, 1, groups=2), nn.ConvTranspose2d(6, 3, 3, dilation=2)), PLANE,
    ),
    "transposed-volume": (lambda: chain(nn.ConvTranspose3d(2, 3, 2, 2), nn.ConvTranspose3d(3, 2, 2)), VOLUME),
    **{
        f"padded-{mode}": (
            lambda mode=mode: chain(*(nn.Conv2d(4, 4, 3, padding=(2, 1), padding_mode=mode) for _ in range(2))), PLANE,
        )
        for mode in ("zeros", "reflect", "replicate", "circular")
    },
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def images(shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def build(make, lanes):
    models = []
    for lane in range(lanes):
        torch.manual_seed(lane)
        models.append(make())
    return models


def outputs_and_gradients(models, x, **options):
    grouped = fuse(models, (x[0] if options else x,))
    output = grouped(x, **options)
    output.sum().backward()
    return [output.detach(), *(parameter.grad for parameter in grouped.parameters())]


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("form", FORMS)
def test_a_convolution_over_lanes_equals_each_lanes_own(form, lanes):
    make, shape = FORMS[form]
    assert measure_difference(build(make, lanes), (images(shape),)).largest <= 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_a_convolution_of_lanes_own_images_equals_each_lanes_own(form):
    make, shape = FORMS[form]
    models, x = [model.double() for model in build(make, 3)], images((3, *shape)).double().requires_grad_()
    outputs, *gradients = outputs_and_gradients(models, x, lane_inputs=True)
    together, x.grad = x.grad, None
    for lane, model in enumerate(models):
        alone = model(x[lane])
        alone.sum().backward()
        assert (outputs[lane] - alone).abs().max() <= 1e-12
        for gradient, parameter in zip(gradients, model.parameters(), strict=True):
            assert (gradient[lane] - parameter.grad).abs().max() <= 1e-12
    assert (together - x.grad).abs().max() <= 1e-12


@pytest.mark.parametrize("form", FORMS)
def test_no_bit_of_a_convolution_depends_on_how_many_lanes_there_are(form):
    make, shape = FORMS[form]
    models = build(make, 5)
    all_lanes = outputs_and_gradients(models, images(shape))
    for lanes in (1, 2, 4):
        for of_all, of_some in zip(all_lanes, outputs_and_gradients(models[:lanes], images(shape)), strict=True):
            assert torch.equal(of_all[:lanes], of_some)


SURROGATES = {
    "8-on-8x8": (lambda: chain(nn.Conv2d(1, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1)), (64, 1, 8, 8)),
    "16-to-32-on-4x4": (lambda: chain(nn.Conv2d(1, 16, 1), nn.Conv2d(16, 32, 3, 1, 1)), (64, 1, 4, 4)),
    "8-to-16-strided": (lambda: chain(nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 16, 3, 2, 1)), (16, 3, 32, 32)),
    "16-to-32-pointwise-strided": (lambda: chain(nn.Conv2d(3, 16, 7, 2, 3), nn.Conv2d(16, 32, 1, 2)), (8, 3, 32, 32)),
}


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_no_bit_of_a_surrogates_convolution_depends_on_how_many_lanes_there_are(surrogate):
    make, shape = SURROGATES[surrogate]
    models = build(make, 17)
    all_lanes = outputs_and_gradients(models, images(shape))
    for lanes in (1, 2, 3, 16):
        for of_all, of_some in zip(all_lanes, outputs_and_gradients(models[:lanes], images(shape)), strict=True):
            assert torch.equal(of_all[:lanes], of_some)


@pytest.mark.parametrize("twin, shape", [(hydro.nn.Conv2d, PLANE), (hydro.nn.ConvTranspose2d, PLANE)])
def test_no_bit_of_a_twin_depends_on_how_many_lanes_there_are(twin, shape):
    make = {hydro.nn.Conv2d: nn.Conv2d, hydro.nn.ConvTranspose2d: nn.ConvTranspose2d}[twin]
    models, x = build(lambda: make(4, 6, 3), 3), images(shape)
    results = []
    for lanes in (1, 3):
        layer = twin(4, 6, 3, lanes=lanes)
        with torch.no_grad():
            for name, parameter in layer.named_parameters():
                parameter.copy_(torch.stack([dict(model.named_parameters())[name] for model in models[:lanes]]))
        output = layer(x.expand(lanes, *x.shape))
        output.square().sum().backward()
        results.append([output, *(parameter.grad for parameter in layer.parameters())])
    for of_one, of_three in zip(*results, strict=True):
        assert torch.equal(of_one, of_three[:1])


class Residual(nn.Module):
    """What ResNets are made of, with an operand that is read twice and one of another shape."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(4) for _ in range(3))
        self.out = nn.Linear(4, 2)

    def forward(self, x):
        x = self.norms[0](self.first(x))
        hidden = F.relu(x)
        y = F.relu(x + self.norms[1](self.second(hidden)))
        y = F.relu(F.adaptive_avg_pool2d(y, 1) + self.norms[2](y))
        return self.out(F.adaptive_avg_pool2d(y, 1).flatten(1))


def test_a_residual_net_equals_separate_ones():
    assert measure_difference(build(Residual, 3), (images((4, 3, 6, 6)),)).largest <= 1e-12


def test_writing_over_operands_changes_no_bit(monkeypatch):
    models, x = build(Residual, 3), images((4, 3, 6, 6))
    overwritten = outputs_and_gradients(copy.deepcopy(models), x)
    monkeypatch.setattr(lower, "overwrite_operands", lambda graph: None)
    for one, other in zip(overwritten, outputs_and_gradients(models, x), strict=True):
        assert torch.equal(one, other)


def targets(model, x):
    program = lower.lower([trace(model, (x,), train=True)])
    graph = program.graph(lane_inputs=False).module.graph
    return [getattr(node.target, "__name__", str(node.target)) for node in graph.nodes]


def test_a_relu_after_batch_norm_takes_no_memory():
    called = targets(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()), images((4, 3, 6, 6)))
    assert "relu_.default" in called
    assert "relu.default" not in called


def test_what_is_read_again_is_not_written_over():
    class ReadAgain(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            y = self.norm(x)
            return F.relu(y) * y, y + 1

    called = targets(ReadAgain(), images((4, 3, 6, 6)))
    assert {"relu.default", "add.Tensor"} <= set(called)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_mean_of_a_plane_has_torchs_bits_for_planes_in_rows(dtype):
    results = []
    for mean in (mean_of_plane, lambda x: F.adaptive_avg_pool2d(x.contiguous(), 1)):
        x = channels_innermost(images((5, 6, 7, 3)).to(dtype)).requires_grad_()
        y = mean(x)
        y.square().sum().backward()
        results.append((y, x.grad))
    for ours, torchs in zip(*results, strict=True):
        assert torch.equal(ours, torchs)


def test_an_image_of_one_channel_makes_channels_lie_innermost_after_a_convolution():
    output = F.conv2d(channels_innermost(images((2, 1, 8, 8))), images((4, 1, 3, 3)))
    assert output.is_contiguous(memory_format=torch.channels_last)
    assert not output.is_contiguous()
