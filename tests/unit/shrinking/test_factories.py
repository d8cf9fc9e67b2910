import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hydro.kit.errors import InvalidArgument
from hydro.tuner import config_factory, shrink
from hydro.tuner.shrinking.factory import FactoryMismatch
from hydro.tuner.shrinking.shape_classes import ClassesDisagree
from hydro.tuner.shrinking.shrink import PretrainedModel

ROWS = torch.ones(4, 10)


class Heads(nn.Module):
    """Its sizes go by a configuration, as those of transformers' models do."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        size = config.hidden_size // config.num_heads
        self.up, self.down = nn.Linear(10, config.num_heads * size), nn.Linear(config.hidden_size, config.classes)

    def forward(self, x):
        return self.down(F.relu(self.up(x)))


class Config:
    def __init__(self):
        self.hidden_size, self.num_heads, self.classes = 64, 8, 5

    def to_dict(self):
        return vars(self)


class Transposed(nn.Module):
    """Uses a linear layer's weight the other way round."""

    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(10, 64), nn.Linear(3, 64, bias=False)

    def forward(self, x):
        return F.relu(self.up(x)) @ self.down.weight


def perceptron(width):
    hidden = round(64 * width)
    return nn.Sequential(nn.Linear(10, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 3))


def shapes(model):
    return {name: tuple(each.shape) for name, each in model.named_parameters()}


def test_a_factory_gives_the_shapes():
    shrunk = shrink(perceptron, (ROWS,), 1 / 8)
    assert shapes(shrunk.model) == shapes(perceptron(1 / 8))
    assert shrunk.parametrization.parameters["2.weight"].fan_in_ratio == 1 / 8
    shrunk.model(ROWS).sum().backward()


def test_a_factory_whose_names_change_is_refused():
    def make(width):
        return nn.Sequential(*[nn.Linear(10, 10) for _ in range(round(4 * width))])

    with pytest.raises(FactoryMismatch, match=r"other parameters at width 0\.5 than at 1: 2\.bias"):
        shrink(make, (ROWS,), 1 / 2)


def test_a_factory_that_moves_an_axis_by_another_ratio_is_refused():
    def make(width):
        return nn.Linear(10, 64 if width == 1 else 5)

    with pytest.raises(FactoryMismatch, match=r"axis 0 of weight goes from 64 to 5, which is not 0\.5 times"):
        shrink(make, (ROWS,), 1 / 2)


def test_a_factory_that_moves_what_the_graph_keeps_is_refused():
    def make(width):
        return nn.Linear(10, round(64 * width))

    with pytest.raises(FactoryMismatch, match=r"graph disagree: weight: its axis 0 goes from 64 to 32.*an output of"):
        shrink(make, (ROWS,), 1 / 2)


def test_widths_in_a_configuration_are_found_by_the_shapes_they_move():
    make = config_factory(Heads(Config()))
    assert shapes(make(1 / 4)) == {"up.weight": (16, 10), "up.bias": (16,), "down.weight": (5, 16), "down.bias": (5,)}
    assert make(1 / 4).config.num_heads == 2


def test_a_configuration_that_a_width_does_not_divide_is_named():
    with pytest.raises(InvalidArgument, match=r"num_heads is 8, of which 0\.0625 is no whole number"):
        config_factory(Heads(Config()))(1 / 16)


def test_a_model_without_a_configuration_is_no_factory():
    with pytest.raises(InvalidArgument, match="Linear has no `config`"):
        config_factory(nn.Linear(2, 2))


def test_a_pretrained_model_has_no_surrogate():
    with pytest.raises(PretrainedModel, match="fine-tuning; tune the target itself"):
        shrink(perceptron(1), (ROWS,), 1 / 8, pretrained=True)


def test_a_parameter_whose_use_contradicts_its_module_is_refused():
    with pytest.raises(ClassesDisagree, match=r"down\.weight: in .*matmul.* fan-in shrinks to 0\.125.*Linear to 1"):
        shrink(Transposed(), (ROWS,), 1 / 8)
