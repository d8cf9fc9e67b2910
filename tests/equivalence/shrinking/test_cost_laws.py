"""What a surrogate costs, measured: operations fall with the width's square, activations kept for backward with it."""

import pytest
import torch
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from hydro.tuner import shrink
from zoo.comparison import one_thread
from zoo.torchvision_models import TORCHVISION_MODELS
from zoo.transformers_models import TRANSFORMERS_MODELS

NAMES = ("convnext_tiny", "vit_b_16", "BERT", "Llama")
MODELS = {each.name: each for each in (*TORCHVISION_MODELS, *TRANSFORMERS_MODELS) if each.name in NAMES}
TARGET_WIDTH = 16
DIVISORS = (2, 4, 8)


def cost(model, inputs):
    """Operations of one step, bytes of activations kept for its backward, and weights."""
    kept = {}
    weights = {each.untyped_storage().data_ptr() for each in model.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        FlopCounterMode(display=False) as counter,
    ):
        outputs = [each for each in pytree.tree_leaves(model(*inputs)) if isinstance(each, torch.Tensor)]
        sum(each.square().mean() for each in outputs if each.requires_grad).backward()
    activations = sum(size for key, size in kept.items() if key not in weights)
    return counter.get_total_flops(), activations, sum(each.numel() for each in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_operations_fall_with_the_square_of_the_width_and_activations_with_the_width(name, capsys):
    torch.manual_seed(0)
    target = MODELS[name].make_at_width(TARGET_WIDTH).float()
    inputs = pytree.tree_map_only(
        torch.Tensor,
        lambda each: each.float() if each.is_floating_point() else each,
        MODELS[name].inputs(torch.Generator().manual_seed(5)),
    )
    with one_thread():
        whole = cost(target, inputs)
        ratios = {
            divisor: [
                before / after
                for before, after in zip(whole, cost(shrink(target, inputs, 1 / divisor).model, inputs), strict=True)
            ]
            for divisor in DIVISORS
        }
    with capsys.disabled():
        for divisor, (operations, activations, weights) in ratios.items():
            print(f"\n{name}, S={divisor}: {operations:.1f}x, {activations:.2f}x, {weights:.1f}x less", end="")
    for divisor, (operations, activations, _) in ratios.items():
        assert divisor**1.7 <= operations <= divisor**2
        assert divisor**0.9 <= activations <= divisor
