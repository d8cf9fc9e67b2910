"""Every op room: lanes equal separate models in float64, NaN stays in its lane, a lane's state makes the round trip."""

from functools import cache

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hydro.tuner.fusion.equivalence import measure_difference
from hydro.tuner.fusion.fuse import fuse
from hydro.tuner.fusion.report import Tier
from hydro.tuner.ops.registry import lane_rules
from zoo.image_ops import IMAGE_OPS
from zoo.sequence_ops import SEQUENCE_OPS
from zoo.tensor_ops import TENSOR_OPS

LANES = 3


class Calls(nn.Module):
    """A module with parameters that calls a function."""

    def __init__(self, function, *layers, **shapes):
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(layers)
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape)))

    def forward(self, *inputs):
        return self.function(self, *inputs)


def image(*shape):
    return (torch.randn(shape, generator=torch.Generator().manual_seed(3)),)


def with_labels(inputs, labels):
    return (*inputs, torch.randint(4, labels, generator=torch.Generator().manual_seed(4)))


def attention(module, x):
    query, key, value = (layer(x).unflatten(-1, (2, -1)).transpose(1, 2) for layer in module.layers)
    mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
    return F.scaled_dot_product_attention(query, key, value, mask).transpose(1, 2).flatten(2)


def shapes(module, x):
    y = module.layers[0](x)
    first, second = y.chunk(2, dim=-1)
    y = torch.cat([first.unsqueeze(1), second.unsqueeze(1)], dim=1).permute(0, 2, 1, 3)
    y = torch.stack([y, y.transpose(-1, -2).transpose(-1, -2)], dim=0)
    y = y[0, :, 1:, :, ::2].squeeze(0) if y.shape[1] == 1 else y[0, :, 1:]
    return y.reshape(len(x), -1).unflatten(1, (-1, 2)).expand(3, -1, -1, -1)


def reductions(module, x):
    y = module.layers[0](x)
    parts = (y.mean(), y.sum(), y.max(), y.mean((1, 2)), y.sum(-1), y.amax(1), y.var(2), y.softmax(-1), y.cumsum(1))
    return (*parts, y.argmax(), y.argmax(1))


def packed_reductions(module, x):
    y = module.layers[0](x)
    return y.mean((2, 3)), y.mean((2, 3), keepdim=True) * y, y.sum(1), torch.cat([y, y], 2), y[:, :, 1:]


def pointwise(module, x):
    y = module.layers[0](x)
    y = F.gelu(y, approximate="tanh") * module.scale + module.shift / 2 - torch.sigmoid(y)
    y = torch.where(y > 0, y, 0.1 * y).clamp(-2, 2).pow(2) + F.silu(y) + F.hardswish(y) + F.leaky_relu(y, 0.2)
    return y.float().double().contiguous() * x.mean() + module.temperature


def in_place(module, x):
    y = module.layers[0](x)
    y += 1
    y.mul_(2)
    return y.relu_() + module.layers[0](x)


def products(module, x):
    y = module.layers[0](x)
    return y @ module.matrix, torch.bmm(y, y.transpose(1, 2)), torch.addmm(module.row, y[0], module.matrix)


MODELS = {
    "linear": (lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5, bias=False)), image(4, 6)),
    "linear-on-sequences": (lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5)), image(4, 3, 6)),
    "products": (lambda: Calls(products, nn.Linear(6, 4), matrix=(4, 5), row=(5,)), image(4, 3, 6)),
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding="same"), nn.ReLU(), nn.Conv2d(4, 6, 3, stride=2, groups=2)),
        image(2, 3, 7, 7),
    ),
    "depthwise": (lambda: nn.Sequential(nn.Conv1d(4, 8, 3, groups=4), nn.Conv1d(8, 4, 1, bias=False)), image(2, 4, 9)),
    "transposed": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 4, 2, stride=2, groups=2)), image(2, 3, 5, 5),
    ),
    "volumes": (lambda: nn.Sequential(nn.Conv3d(1, 2, 2), nn.MaxPool3d(2), nn.BatchNorm3d(2)), image(3, 1, 5, 5, 5)),
    "batch-norm": (
        lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, affine=False)),
        image(4, 3, 4, 4),
    ),
    "batch-norm-of-features": (lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)), image(4, 6)),
    "layer-norm": (lambda: nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 8), nn.LayerNorm((3, 8))), image(2, 3, 6)),
    "layer-norm-without-bias": (lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8, bias=False)), image(2, 3, 6)),
    "group-norm": (lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.GroupNorm(3, 6)), image(2, 3, 5, 5)),
    "pooling": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.MaxPool2d(2, 1), nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
            nn.Linear(16, 2),
        ),
        image(2, 3, 9, 9),
    ),
    "embedding": (lambda: Calls(lambda m, _, x: m.layers[1](m.layers[0](x)), nn.Embedding(4, 6), nn.Linear(6, 2)),
                  with_labels(image(1), (2, 3))),
    "attention": (lambda: Calls(attention, *(nn.Linear(6, 6) for _ in range(3))), image(2, 5, 6)),
    "shapes": (lambda: Calls(shapes, nn.Linear(6, 8)), image(2, 3, 6)),
    "reductions": (lambda: Calls(reductions, nn.Linear(6, 8)), image(2, 3, 6)),
    "reductions-of-images": (lambda: Calls(packed_reductions, nn.Conv2d(3, 4, 2)), image(2, 3, 5, 5)),
    "pointwise": (lambda: Calls(pointwise, nn.Linear(6, 8), scale=(8,), shift=(3, 1), temperature=()), image(2, 3, 6)),
    "pointwise-of-images": (
        lambda: Calls(pointwise, nn.Conv2d(3, 8, 2), scale=(8, 1, 1), shift=(1, 4), temperature=()), image(2, 3, 5, 5),
    ),
    "in-place": (lambda: Calls(in_place, nn.Linear(6, 8)), image(2, 6)),
    "dropout": (lambda: nn.Sequential(nn.Dropout(0.4), nn.Linear(6, 8), nn.Dropout(0.3), nn.Dropout(0.0)), image(5, 6)),
    "dropout-of-a-transposed-tensor": (
        lambda: Calls(lambda m, x: F.dropout(m.layers[0](x).transpose(0, 1), 0.5), nn.Linear(6, 8)), image(5, 3, 6),
    ),
    "cross-entropy": (
        lambda: Calls(
            lambda m, x, y: (
                F.cross_entropy(m.layers[0](x), y, ignore_index=1, label_smoothing=0.1),
                F.cross_entropy(m.layers[0](x), y, reduction="none"),
                F.cross_entropy(m.layers[1](x), y, reduction="sum"),
            ),
            nn.Linear(6, 4), nn.Linear(6, 20),
        ),
        with_labels(image(5, 6), (5,)),
    ),
    "cross-entropy-of-images": (
        lambda: Calls(lambda m, x, y: F.cross_entropy(m.layers[0](x), y), nn.Conv2d(3, 4, 1)),
        with_labels(image(2, 3, 5, 5), (2, 5, 5)),
    ),
    "other-losses": (
        lambda: Calls(
            lambda m, x: (
                F.mse_loss(m.layers[0](x), x), F.l1_loss(m.layers[0](x), x, reduction="sum"),
                F.smooth_l1_loss(m.layers[0](x), x, reduction="none"),
                F.binary_cross_entropy_with_logits(m.layers[0](x), x.sigmoid()),
            ),
            nn.Linear(6, 6),
        ),
        image(5, 6),
    ),
}  # fmt: skip

NO_LABELS = torch.full((5, 8), -1)
MODELS |= SEQUENCE_OPS | IMAGE_OPS | TENSOR_OPS

UNGROUPED = {
    "vmapped": (lambda: Calls(lambda m, x: torch.diag_embed(m.layers[0](x)), nn.Linear(6, 8)), image(5, 6)),
    "unrolled": (
        lambda: Calls(lambda m, x: F.multilabel_margin_loss(m.layers[0](x), NO_LABELS), nn.Linear(6, 8)),
        image(5, 6),
    ),
    "unrolled-random": (
        lambda: Calls(lambda m, x: m.layers[0](x) * torch.bernoulli(torch.full((8,), 0.5)), nn.Linear(6, 8)),
        image(5, 6),
    ),
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build(make):
    models = []
    for lane in range(LANES):
        torch.manual_seed(lane)
        models.append(make().train())
    return models


@pytest.mark.parametrize("name", [*MODELS, *UNGROUPED])
def test_lanes_equal_separate_models(name):
    make, inputs = (MODELS | UNGROUPED)[name]
    assert measure_difference(build(make), inputs, seed=11).largest <= 1e-10


@pytest.mark.parametrize("name", [*MODELS, *UNGROUPED])
def test_nan_in_one_lane_leaves_the_bits_of_the_others(name):
    make, inputs = (MODELS | UNGROUPED)[name]
    grouped = fuse(build(make), inputs)
    clean = gradients_and_outputs(grouped, inputs)
    with torch.no_grad():
        for parameter in grouped.parameters():
            parameter[1].fill_(torch.nan)
    for one, other in zip(clean, gradients_and_outputs(grouped, inputs), strict=True):
        assert torch.equal(one[[0, 2]], other[[0, 2]])


def gradients_and_outputs(grouped, inputs):
    outputs = with_streams(grouped)(*inputs)
    outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
    loss = sum(output.sum() for output in outputs if output.is_floating_point())
    gradients = torch.autograd.grad(loss, [*grouped.parameters()], allow_unused=True)
    return [*(output.detach().clone() for output in outputs), *(each for each in gradients if each is not None)]


@cache
def fused(name):
    make, inputs = (MODELS | UNGROUPED)[name]
    grouped = fuse(build(make), inputs)
    return grouped, grouped.lane_state_dict(1)


def with_streams(grouped):
    grouped.generators = [torch.Generator().manual_seed(lane) for lane in range(LANES)]
    return grouped


@pytest.mark.parametrize("name", [*MODELS, *UNGROUPED])
def test_lanes_with_inputs_of_their_own_equal_shared_ones(name):
    grouped, inputs = fused(name)[0], (MODELS | UNGROUPED)[name][1]
    stacked = tuple(torch.stack([each] * LANES) for each in inputs)
    results = with_streams(grouped)(*inputs), with_streams(grouped)(*stacked, lane_inputs=True)
    for one, other in zip(*(each if isinstance(each, tuple) else (each,) for each in results), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_lane_makes_the_round_trip_to_its_own_model(name):
    make, _ = MODELS[name]
    fresh = make()
    fresh.load_state_dict(fused(name)[1])
    for key, tensor in build(make)[1].state_dict().items():
        assert torch.equal(fresh.state_dict()[key], tensor)


@pytest.mark.parametrize("name", MODELS)
def test_the_op_runs_as_one_grouped_kernel(name):
    report = fused(name)[0].report
    assert {run.tier for run in report.runs} <= {Tier.SHARED, Tier.GROUPED}, str(report)


def test_every_op_with_a_rule_is_in_one_of_these_models():
    tried = {run.op for name in MODELS for run in fused(name)[0].report.runs if run.tier is Tier.GROUPED}
    assert {str(op).removeprefix("aten.") for op in lane_rules()} - tried == set()


@pytest.mark.parametrize("name", UNGROUPED)
def test_an_op_without_rule_is_reported_in_its_tier(name):
    report = fused(name)[0].report
    assert report.count(Tier(name.split("-")[0])) > 0
    assert "not grouped: " in str(report)


def single(tensor):
    return tensor.float() if tensor.is_floating_point() else tensor


def outputs_of(grouped, inputs, states):
    grouped.generators = None
    grouped.take([])
    for state in states:
        grouped.insert(state)
    grouped.generators = [torch.Generator().manual_seed(lane) for lane in range(len(states))]
    outputs = grouped(*inputs)
    return [each for each in (outputs if isinstance(outputs, tuple | list) else [outputs]) if torch.is_tensor(each)]


def total(outputs):
    return sum((0.3 * each.square() + each).sum() for each in outputs if each.requires_grad)


@pytest.mark.parametrize("name", [*MODELS, *UNGROUPED])
def test_bits_in_float32_do_not_depend_on_how_many_lanes_there_are(name):
    make, inputs = (MODELS | UNGROUPED)[name]
    inputs = tuple(single(each) for each in inputs)
    torch.manual_seed(0)
    states = [{key: single(each) for key, each in make().state_dict().items()} for _ in range(8)]
    grouped = fuse([make().float().train()], inputs)
    parameters = [each for each in grouped.parameters() if each.requires_grad]
    expected = []
    for count in (8, 5, 3, 2, 1):
        outputs = outputs_of(grouped, inputs, states[:count])
        loss = total(outputs)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True) if parameters else ()
        found = [*(each.detach() for each in outputs), *gradients, *(each for _, each in grouped.named_buffers())]
        expected = expected or found
        for one, all_eight in zip(found, expected, strict=True):
            assert one is all_eight is None or torch.equal(one, all_eight[:count]), count


@pytest.mark.parametrize("name", [*MODELS, *UNGROUPED])
def test_gradients_come_out_as_the_parameters_lie(name):
    grouped, inputs = fused(name)[0], (MODELS | UNGROUPED)[name][1]
    outputs = with_streams(grouped)(*inputs)
    loss = total([each for each in (outputs if isinstance(outputs, tuple) else [outputs]) if torch.is_tensor(each)])
    # Filters of images come as their kernel gives them, and autograd copies them: little beside the convolution.
    parameters = [each for each in grouped.parameters() if each.requires_grad and each.ndim < 5]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True) if parameters else ()
    assert all(each.is_contiguous() for each in gradients if each is not None)
