"""Twenty steps of torchvision's models, fused, against separate models in plain PyTorch, in float64.

AdamW divides by sqrt(v), which turns a difference in the last bit into one of the learning rate where a gradient is
small, or truly 0, as that of a shift before a batch norm. Nothing is loosened for it: in float64 lanes and optimizer do
what torch does, in its order, so that there is mostly no difference to magnify.
"""

import copy

import pytest
import torch
from torch.nn import functional as F

from hydro import optim
from hydro.tuner import fuse
from hydro.tuner.fusion.report import Tier
from zoo.torchvision_models import CLASSES, SAMPLES, TORCHVISION_MODELS

STEPS = 20
TOLERANCE = 1e-10
LANES = 3
LARGE = 1_000_000
"""Parameters above which two lanes must do."""

OPTIMIZERS = {
    "sgd": (
        torch.optim.SGD,
        optim.SGD,
        [{"lr": 0.01 * (lane + 1), "momentum": 0.9 - 0.2 * lane, "weight_decay": 0.01 * lane} for lane in range(LANES)],
    ),
    "adamw": (
        torch.optim.AdamW,
        optim.AdamW,
        [{"lr": 0.001 * (lane + 1), "weight_decay": 0.1 * lane} for lane in range(LANES)],
    ),
}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make_lane(zoo_model, lane):
    """Weights of its own; and probabilities of its own in every dropout and stochastic depth."""
    torch.manual_seed(lane)
    model = zoo_model.make().double().train()
    for module in model.modules():
        for name in ("p", "drop_rate"):
            if hasattr(module, name):
                setattr(module, name, getattr(module, name) * (1 - 0.25 * lane))
    return model


def batches(zoo_model, count):
    generator = torch.Generator().manual_seed(7)
    for _ in range(count):
        yield (
            tuple(each.double() for each in zoo_model.inputs(generator)),
            torch.randint(CLASSES, (SAMPLES,), generator=generator),
        )


def train_alone(model, optimizer, stream, lane):
    """Gives the outputs, and the gradients of the first step."""
    outputs, gradients = [], {}
    torch.manual_seed(100 + lane)
    for inputs, labels in stream:
        output = model(*inputs)
        optimizer.zero_grad()
        F.cross_entropy(output, labels).backward()
        gradients = gradients or {name: each.grad.clone() for name, each in model.named_parameters()}
        optimizer.step()
        outputs.append(output.detach())
    return outputs, gradients


def train_fused(grouped, optimizer, stream):
    outputs, gradients = [], {}
    for inputs, labels in stream:
        output = grouped(*inputs)
        optimizer.zero_grad()
        sum(F.cross_entropy(lane, labels) for lane in output).backward()
        gradients = gradients or {name: each.grad.clone() for name, each in grouped.named_parameters()}
        optimizer.step()
        outputs.append(output.detach())
    return outputs, gradients


def assert_close(one, other, where):
    assert one.dtype == other.dtype
    assert (one.double() - other.double()).abs().max().item() <= TOLERANCE, where


AT_LENGTH = ("wide_resnet50_2", "resnext50_32x4d", "vgg11", "shufflenet_v2_x1_0")
MODELS = [pytest.param(each, marks=[pytest.mark.slow] * (each.name in AT_LENGTH)) for each in TORCHVISION_MODELS]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("zoo_model", MODELS, ids=str)
def test_twenty_fused_steps_equal_separate_models(zoo_model, optimizer):
    plain, twin, options = OPTIMIZERS[optimizer]
    models = [make_lane(zoo_model, lane) for lane in range(LANES)]
    if sum(parameter.numel() for parameter in models[0].parameters()) > LARGE:
        models, options = models[:2], options[:2]
    stream = list(batches(zoo_model, STEPS))
    grouped = fuse(models, stream[0][0])
    grouped.generators = [torch.Generator().manual_seed(100 + lane) for lane in range(len(models))]
    numbers = {name: [own[name] for own in options] for name in options[0]}
    fused_outputs, fused_gradients = train_fused(grouped, twin(dict(grouped.named_parameters()), **numbers), stream)
    grouped.eval()
    for lane, model in enumerate(copy.deepcopy(models)):
        outputs, gradients = train_alone(model, plain(model.parameters(), **options[lane]), stream, lane)
        for step, output in enumerate(outputs):
            assert_close(fused_outputs[step][lane], output, ("output", step, lane))
        for name, gradient in gradients.items():
            assert_close(fused_gradients[name][lane], gradient, ("gradient", name, lane))
        state = grouped.lane_state_dict(lane)
        assert state.keys() == model.state_dict().keys()
        for name, tensor in model.state_dict().items():
            assert_close(state[name], tensor, ("state", name, lane))
        with torch.no_grad():
            assert_close(grouped(*stream[0][0])[lane], model.eval()(*stream[0][0]), ("eval", lane))


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("zoo_model", TORCHVISION_MODELS, ids=str)
def test_nine_in_ten_op_calls_run_once_for_all_lanes(zoo_model, mode):
    inputs, _ = next(batches(zoo_model, 1))
    models = [make_lane(zoo_model, lane) for lane in range(2)]
    report = fuse([model.train(mode == "train") for model in models], inputs).report
    rest = [run for run in report.runs if run.tier not in (Tier.SHARED, Tier.GROUPED, Tier.VMAPPED)]
    assert report.count(Tier.SEPARATE) == 0, str(report)
    assert len(rest) <= 0.1 * len(report.runs), str(report)
