"""Layers are left out of the library's pre-LN models, whatever their blocks are called, and not of its post-LN ones."""

import pytest
import torch
from torch import nn

from hydro.tuner import shrink
from hydro.tuner.shrinking.depth import NoResidualStack
from zoo import drawn_transformers
from zoo.comparison import one_thread

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def drawn(task, name):
    inputs = drawn_transformers.inputs(task, name, torch.Generator().manual_seed(5))
    return drawn_transformers.make(task, name).double(), inputs


@pytest.mark.parametrize(("name", "stack"), [("llama", "model.layers"), ("gpt2", "transformer.h")])
def test_half_the_layers_of_a_pre_norm_language_model_are_left_out(name, stack):
    model, inputs = drawn("causal-lm", name)
    shrunk = shrink(model, inputs, 1 / 2, depth=1 / 2)
    assert [(each.name, each.target_layers, each.layers) for each in shrunk.solution.stacks] == [(stack, 2, 1)]
    shrunk.model(*inputs).loss.backward()
    assert [name for name, each in shrunk.model.named_parameters() if each.grad is None] == []


def test_torchs_own_encoder_is_cut_where_it_normalizes_first_and_refused_where_it_does_not():
    rows = torch.randn(2, 5, 32)

    def encoder(*, norm_first):
        layer = nn.TransformerEncoderLayer(32, 4, 64, norm_first=norm_first, batch_first=True)
        return nn.Sequential(nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), nn.Linear(32, 3))

    assert shrink(encoder(norm_first=True), (rows,), 1 / 2, depth=1 / 2).solution.stacks[0].layers == 2
    with pytest.raises(NoResidualStack, match=r"0\.layers\.0 does not add to its input"):
        shrink(encoder(norm_first=False), (rows,), 1 / 2, depth=1 / 2)
