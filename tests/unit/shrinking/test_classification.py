"""Every class of the table, found from how a parameter is used."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hydro.tuner.shrinking.shrink import shrink


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 32)
        self.stem = nn.Conv2d(1, 32, 3, padding=1)
        self.depthwise = nn.Conv2d(32, 32, 3, padding=1, groups=32)
        self.norm = nn.BatchNorm2d(32)
        self.transposed = nn.Parameter(torch.randn(32, 24))
        self.head = nn.Linear(24, 5)

    def forward(self, images, symbols):
        x = F.relu(self.norm(self.depthwise(self.stem(images)))).mean((2, 3)) + self.embedding(symbols)
        return self.head(x @ self.transposed)


class Groups(nn.Module):
    def __init__(self, groups, width_of_groups=None):
        super().__init__()
        self.stem, self.groups = nn.Conv2d(3, 32, 1), nn.Conv2d(32, 32, 3, groups=groups)
        self.head, self.width_of_groups = nn.Linear(32, 5), width_of_groups

    def forward(self, images):
        return self.head(self.fixed(self.groups(self.fixed(self.stem(images)))).mean((2, 3)))

    def fixed(self, x):
        """Keeps the width of groups, if it is told one, since it meets a constant of that length."""
        if self.width_of_groups is None:
            return x
        weights = torch.arange(self.width_of_groups)[:, None, None]
        return (x.unflatten(1, (-1, self.width_of_groups)) * weights).flatten(1, 2)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.symbol, self.hidden = nn.Embedding(20, 16), nn.Linear(16, 16)
        self.readout = nn.Linear(16, 20, bias=False)
        self.readout.weight = self.symbol.weight

    def forward(self, symbols):
        return self.readout(F.relu(self.hidden(self.symbol(symbols))))


@pytest.fixture(scope="module")
def mixed():
    shrunk = shrink(Mixed(), (torch.randn(2, 1, 8, 8), torch.tensor([1, 2])), 1 / 2)
    return shrunk.solution.parametrization.parameters, str(shrunk.report)


@pytest.mark.parametrize(
    ("name", "tensor_class", "ratios"),
    [
        ("embedding.weight", "vector", (1, 0.5)),
        ("stem.weight", "input", (1, 0.5)),
        ("stem.bias", "vector", (1, 0.5)),
        ("depthwise.weight", "depthwise", (1, 0.5)),
        ("norm.weight", "vector", (1, 0.5)),
        ("transposed", "hidden", (0.5, 0.5)),
        ("head.weight", "readout", (0.5, 1)),
        ("head.bias", "fixed", (1, 1)),
    ],
)
def test_each_parameter_has_the_class_of_its_use(mixed, name, tensor_class, ratios):
    found = mixed[0][name]
    assert (found.tensor_class.value, (found.fan_in_ratio, found.fan_out_ratio)) == (tensor_class, ratios)


@pytest.mark.parametrize(
    ("model", "tensor_class", "ratios"),
    [(Groups(2), "grouped by size", (1 / 4, 1 / 4)), (Groups(8, width_of_groups=4), "grouped by count", (1, 1 / 4))],
)
def test_groups_shrink_in_size_or_in_number(model, tensor_class, ratios):
    shrunk = shrink(model, (torch.randn(2, 3, 8, 8),), 1 / 4)
    found = shrunk.solution.parametrization.parameters["groups.weight"]
    assert (found.tensor_class.value, (found.fan_in_ratio, found.fan_out_ratio)) == (tensor_class, ratios)


def test_a_readout_that_is_looked_up_as_well_is_tied():
    found = shrink(Tied(), (torch.arange(4),), 1 / 4).solution.parametrization.parameters
    assert found["symbol.weight"] is found["readout.weight"]
    assert (found["symbol.weight"].tensor_class.value, found["symbol.weight"].fan_in_ratio) == ("tied", 1 / 4)


def test_the_report_tells_of_each_parameter_why_and_whence(mixed):
    lines = {line.split("  ")[0]: line for line in mixed[1].splitlines()}
    assert "linear over axis 1 at test_classification.py:" in lines["head.weight"]
    assert "matmul over axis 0 at test_classification.py:" in lines["transposed"]
    assert "in 32 groups at" in lines["depthwise.weight"]
    assert "embedding at test_classification.py:" in lines["embedding.weight"]
    assert "readout: TP-V Table 3" in mixed[1]
