"""`hydro fuse` on factories, as a user calls it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hydro.kit.errors import InvalidArgument
from hydro.tuner.command.model_source import load_source

HYDRO = Path(sys.executable).with_name("hydro")
EXAMPLES = Path(__file__).parents[3] / "examples"

FACTORIES = """
import sys

import torch
from torch import nn


def perceptron():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def with_inputs():
    return nn.Bilinear(4, 5, 3), (torch.randn(7, 4), torch.randn(7, 5))


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x):
        y = self.linear(x)
        print("said by the model", file=sys.stderr)
        return y if y.sum() > 0 else -y


def tokens():
    return nn.Sequential(nn.Embedding(11, 4), nn.Linear(4, 2))


def no_module():
    return 3
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "factories.py").write_text(FACTORIES)
    return tmp_path


@pytest.fixture
def in_process(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    yield
    sys.modules.pop("factories", None)


def run(folder, *arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [HYDRO, "fuse", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def test_it_prints_the_tier_of_every_op_and_the_measured_gain(folder):
    done = run(folder, "factories:perceptron", "--lanes", "8", "--input", "16x6")
    assert done.returncode == 0, done.stderr
    assert "8 lanes of factories:perceptron, input 16x6:float32" in done.stdout
    assert re.search(r"linear\.default\s+grouped\s+2", done.stdout)
    assert re.search(r"ms fused, [\d.]+ ms as separate models \([\d.]+x; ", done.stdout)


@pytest.mark.parametrize(
    ("factory", "inputs"),
    [
        ("factories:perceptron", "8x6:float32"),
        ("factories:with_inputs", "7x4:float32, 7x5:float32"),
        ("factories:tokens", "8x16:int64"),
    ],
)
def test_inputs_that_are_not_given_are_found(in_process, factory, inputs):
    assert load_source(factory, []).description == inputs


def test_a_model_that_does_not_fuse_runs_separately_and_says_why(folder):
    done = run(folder, "factories:Branching", "--lanes", "3", "--steps", "1")
    assert done.returncode == 0, done.stderr
    assert "not fused: " in done.stdout and "factories.py:" in done.stdout
    assert "what aten.item.default gives decides what runs" in done.stdout
    assert "nothing is gained: 3 lanes run as so many separate models" in done.stdout
    assert done.stderr == "said by the model\n" * done.stderr.count("\n") != ""


def test_a_training_task_is_fused_with_its_own_batches():
    done = run(EXAMPLES, "digits:Digits", "--lanes", "2", "--steps", "1")
    assert done.returncode == 0, done.stderr
    assert "input 64x1x8x8:float32" in done.stdout
    assert re.search(r"conv2d\.default\s+grouped", done.stdout)


@pytest.mark.parametrize(
    ("factory", "inputs", "message"),
    [
        ("factories", [], "factory: 'factories': give module:factory"),
        ("nowhere:model", [], "factory: 'nowhere:model': No module named 'nowhere'"),
        ("factories:absent", [], "no function or class 'absent'"),
        ("factories:no_module", [], "gives a int, not a torch.nn.Module"),
        ("factories:perceptron", ["3xx"], "input: '3xx': give a shape"),
        ("factories:perceptron", ["3x7"], "input: the model does not take 3x7:float32"),
    ],
)
def test_bad_arguments_are_named(in_process, factory, inputs, message):
    with pytest.raises(InvalidArgument, match=re.escape(message)):
        load_source(factory, inputs)


def test_a_bad_argument_ends_the_command_with_one_line(folder):
    done = run(folder, "factories:perceptron", "--lanes", "0")
    assert done.returncode == 1
    assert "lanes: 0: give 1 or more" in done.stderr and "Traceback" not in done.stderr
