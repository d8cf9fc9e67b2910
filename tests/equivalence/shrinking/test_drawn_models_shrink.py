"""Twenty models of torchvision and transformers that nobody chose: nine in ten shrink, the rest say why not."""

import pytest
import torch

from hydro.kit.errors import HydroError
from hydro.tuner import shrink
from zoo import drawn_models, drawn_transformers
from zoo.comparison import one_thread
from zoo.shrinkage import one_step, unexplained, without_gradient

SEED, COUNT, CHEAP_COUNT = 2027, 10, 3
WIDTH = 1 / 2
LARGEST_SHARE = 0.6
"""Of the target's parameters: a model of which half the layers kept their size would have more."""


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def why_not(zoo_model):
    """Why a model does not count as shrunk, "" when it does."""
    torch.manual_seed(0)
    inputs = zoo_model.inputs(torch.Generator().manual_seed(5))
    is_double = any(each.dtype == torch.float64 for each in inputs if isinstance(each, torch.Tensor))
    model = zoo_model.make().double() if is_double else zoo_model.make()
    try:
        shrunk = shrink(model, inputs, WIDTH)
    except HydroError as error:
        return str(error)
    if shrunk.solution.unknown_ops:
        return "; ".join(shrunk.report.warnings)
    if shrunk.solution.parameters > LARGEST_SHARE * shrunk.solution.target_parameters:
        return f"most of it keeps its size:\n{shrunk.report}"
    # A model that says that it shrinks must be right: what follows is no reason, but an error.
    assert unexplained(shrunk) == []
    _, gradients = one_step(shrunk.model, inputs)
    _, targets = one_step(model, inputs)
    # A part that chooses what another one looks at has no gradient in the target either.
    assert [name for name in without_gradient(shrunk, gradients) if targets[name] is not None] == []
    return ""


def attempt(models, capsys):
    reasons = {model.name: why_not(model) for model in models}
    with capsys.disabled():
        print(f"\nseed {SEED}:", *(f"{name}: {reason or 'shrinks'}" for name, reason in reasons.items()), sep="\n  ")
    assert sum(map(bool, reasons.values())) <= len(reasons) // 10, reasons


def test_a_few_drawn_models_shrink(capsys):
    attempt(drawn_transformers.drawn(CHEAP_COUNT, SEED), capsys)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nine_in_ten_of_twenty_drawn_models_shrink(capsys):
    attempt([*drawn_transformers.drawn(COUNT, SEED), *drawn_models.drawn(COUNT, SEED)], capsys)
