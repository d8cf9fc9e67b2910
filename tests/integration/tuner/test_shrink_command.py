"""`hydro shrink` on factories, as a user calls it."""

import re
import sys

import pytest

from hydro.kit.errors import InvalidArgument
from hydro.tuner.command.shrink import shrink

FACTORIES = """
import torch
from torch import nn

from hydro.tuner.task import TrainingTask


def perceptron():
    return nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))


def at_any_width(width):
    hidden = round(48 * width)
    return nn.Sequential(nn.Linear(6, hidden), nn.ReLU(), nn.Linear(hidden, 3))


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.symbol, self.rows, self.head = nn.Embedding(11, 32), nn.Linear(6, 32), nn.Linear(32, 3)

    def forward(self, symbols, rows):
        return self.head(self.symbol(symbols).mean(1) + self.rows(rows))


class Clipped(TrainingTask):
    defaults = {"lr": 0.1}
    gradient_clip_norm = 1.0

    def model(self, hp):
        return perceptron()

    def train_batches(self, hp, seed, start_step):
        while True:
            yield torch.ones(4, 6)

    def loss(self, model, batch, hp):
        return model(batch).square().mean()

    def optimizer(self, model, hp):
        return torch.optim.SGD(model.parameters(), lr=hp["lr"])
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "shrink_factories.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("shrink_factories", None)


def test_it_prints_shapes_classes_and_ratios_of_every_tensor(capsys):
    shrink("shrink_factories:perceptron", "1/8", ["4x6"], "SGD")
    printed = capsys.readouterr().out
    assert "shrink_factories:perceptron at width 1/8, input 4x6:float32" in printed
    assert re.search(r"2\.weight +64x64 +8x8 +hidden +0\.125 +0\.125", printed)
    assert re.search(r"4\.weight +3x64 +3x8 +readout +0\.125 +1 ", printed)


def test_a_function_of_the_width_gives_the_shapes(capsys):
    shrink("shrink_factories:at_any_width", "0.25", ["4x6"])
    assert re.search(r"0\.weight +48x6 +12x6 ", capsys.readouterr().out)


def test_several_inputs_of_several_types_are_taken(capsys):
    shrink("shrink_factories:TwoInputs", "1/4", ["4x16:int64", "4x6"])
    assert "input 4x16:int64, 4x6:float32" in capsys.readouterr().out


def test_a_task_is_shrunk_as_in_a_study_with_its_own_optimizer(capsys):
    shrink("shrink_factories:Clipped", "1/8")
    printed = capsys.readouterr().out
    assert "factors of SGD" in printed
    assert re.search(r"4\.weight +3x64 +3x8 +multiplied readout ", printed)
    shrink("shrink_factories:Clipped", "1/8", None, "AdamW")
    assert "factors of AdamW" in capsys.readouterr().out


def test_a_library_that_wants_another_torch_is_told_in_one_line(tmp_path):
    (tmp_path / "other_torch.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")\n')
    with pytest.raises(InvalidArgument, match="install the build of torchvision that goes with it") as told:
        shrink("other_torch:model", "1/8")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("width", "message"),
    [
        ("an eighth", "width: 'an eighth': give a fraction such as 1/8"),
        ("1/0", "width: '1/0': give a fraction"),
        ("8", "width: '8' is not in (0, 1]"),
        ("1/1000", "no channel of"),
    ],
)
def test_a_width_that_is_none_is_told(width, message):
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        shrink("shrink_factories:perceptron", width, ["4x6"])


def test_an_optimizer_that_torch_has_not_is_told():
    with pytest.raises(InvalidArgument, match="'Nothing': torch.optim has no such optimizer"):
        shrink("shrink_factories:perceptron", "1/8", ["4x6"], "Nothing")
