"""The zoo, several times as wide, shrunk: it is the library's own model at that width, to the last bits of float64."""

import pytest
import torch
from torch.utils import _pytree as pytree

from hydro.tuner import shrink
from hydro.tuner.shrinking.classification import TensorClass
from zoo.comparison import one_thread
from zoo.torch_models import TORCH_MODELS
from zoo.torchvision_models import TORCHVISION_MODELS
from zoo.transformers_models import TRANSFORMERS_MODELS

TARGET_WIDTHS = {2: 8, 3: 6, 4: 8, 8: 8}
"""By divisor: the target is this many times as wide as the zoo's."""
TWICE_AS_WIDE = ("mobilenet_v3_small",)
"""The library itself keeps eight channels of what would have fewer."""
ZOO = {each.name: each for each in (*TORCHVISION_MODELS, *TRANSFORMERS_MODELS, *TORCH_MODELS)}
OFTEN = (
    "resnet18", "wide_resnet50_2", "resnext50_32x4d", "mobilenet_v3_small", "convnext_tiny", "densenet121", "vgg11",
    "shufflenet_v2_x1_0", "vit_b_16", "GPT-2", "BERT", "Llama", "TransformerEncoder", "LSTM", "digits example",
    "characters example",
)  # fmt: skip
"""Checked at one width in every run; the rest, and the other widths, are slow tests."""


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def doubled(inputs):
    return pytree.tree_map_only(torch.Tensor, lambda each: each.double() if each.is_floating_point() else each, inputs)


def leaves(output):
    return [each for each in pytree.tree_leaves(output) if isinstance(each, torch.Tensor)]


def run(model, inputs):
    """One step with a stream of its own: the same shapes draw the same numbers."""
    torch.manual_seed(7)
    first, *_ = outputs = leaves(model(*inputs))
    sum(each.square().mean() for each in outputs if each.requires_grad).backward()
    return first.detach(), {name: each.grad for name, each in model.named_parameters()}


def check(name, divisor):
    zoo_model, target_width = ZOO[name], TARGET_WIDTHS[divisor] * (2 if name in TWICE_AS_WIDE else 1)
    inputs = doubled(zoo_model.inputs(torch.Generator().manual_seed(5)))
    torch.manual_seed(0)
    make = zoo_model.make_at_width
    target = (make(target_width) if make else zoo_model.make()).double()
    shrunk = shrink(target, inputs, 1 / divisor)
    solution = shrunk.solution
    assert solution.unknown_ops == ()
    assert_every_dimension_shrank(solution)
    output, gradients = run(shrunk.model.train(), inputs)
    used = {each.name for each in solution.tensors if each.is_parameter and not is_unused(each)}
    assert {key for key, each in gradients.items() if each is not None} == used
    if make:
        assert_is(make(target_width / divisor).double().train(), shrunk, output, gradients, inputs)


def is_unused(tensor):
    return any("not used" in why for why in tensor.kept)


def assert_every_dimension_shrank(solution):
    """One that has its size still says why."""
    for each in solution.tensors:
        for axis, (size, before) in enumerate(zip(each.shape, each.target_shape, strict=True)):
            assert size < before or size == 1 or each.kept[axis], (each.name, axis)


def assert_is(narrow, shrunk, output, gradients, inputs):
    assert {key: each.shape for key, each in shrunk.model.state_dict().items()} == {
        key: each.shape for key, each in narrow.state_dict().items()
    }
    if any(each.classified.tensor_class is TensorClass.TIED for each in shrunk.solution.tensors):
        return  # its readout is behind a multiplier, which the narrow model lacks
    narrow.load_state_dict(shrunk.model.state_dict())
    expected, expected_gradients = run(narrow, inputs)
    torch.testing.assert_close(output, expected, rtol=1e-12, atol=1e-12)
    for key, each in expected_gradients.items():
        torch.testing.assert_close(gradients[key], each, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", OFTEN)
def test_a_model_of_the_zoo_shrinks_to_a_quarter(name):
    check(name, 4)


@pytest.mark.slow
@pytest.mark.parametrize("divisor", [2, 3, 8])
@pytest.mark.parametrize("name", ZOO)
def test_a_model_of_the_zoo_shrinks_to_any_width(name, divisor):
    check(name, divisor)
