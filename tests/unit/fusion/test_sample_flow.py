"""Which traces prove that lanes with batches of other lengths may share a program."""

import pytest
import torch
from torch import nn

from hydro.tuner.fusion.samples import SampleAxis
from hydro.tuner.fusion.structure import NotFusible, compare
from hydro.tuner.tracing import trace

LENGTHS = (6, 4, 3)


class Loss(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.function = function

    def forward(self, x):
        return self.function(self.layer(x), self.token)


def padding(function, shape=(4,)):
    traces = [trace(Loss(function), (torch.randn(length, *shape),), train=True) for length in LENGTHS]
    return compare(traces, LENGTHS).padding


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (lambda x, token: x.sort(0).values.square().mean(), "aten.sort"),
        (lambda x, token: (x @ x.transpose(0, 1)).mean(), "aten.matmul"),
        (lambda x, token: x.flip(0).mul(x).mean(), "aten.flip"),
        (lambda x, token: (x - x[:1]).mul(x[1:].sum()).mean(), "aten.slice"),
        (lambda x, token: x.cumsum(0).square().mean(), "aten.cumsum"),
        (lambda x, token: x.softmax(0).square().mean(), "aten.softmax"),
        (lambda x, token: (x + torch.randn_like(x)).mean(), "aten.randn_like"),
        (lambda x, token: x.mul(torch.arange(len(x)).unsqueeze(1)).mean(), "aten.arange"),
        (lambda x, token: x.view(2, -1).square().sum(1).prod(), "aten."),
    ],
    ids=["sort", "pairs", "flip", "first", "cumsum", "softmax", "noise", "position", "halves"],
)
def test_what_mixes_samples_is_refused_by_name_and_line(function, op):
    lengths = (6, 4)
    traces = [trace(Loss(function), (torch.randn(length, 4),), train=True) for length in lengths]
    with pytest.raises(NotFusible, match=rf"{op}.*(at test_sample_flow.py:\d+|at an unknown line)"):
        compare(traces, lengths)


def test_only_what_gives_no_samples_runs_by_length():
    found = padding(lambda x, token: (x.relu() - x.mean(0)).square().sum(1).mean())
    names = {name.rsplit("_", 1)[0] if name[-1].isdigit() else name for name in found.by_length}
    assert names == {"mean"}
    assert len(found.by_length) == 2


def test_a_merged_axis_keeps_a_block_for_each_sample():
    found = padding(lambda x, token: x.flatten(0, 1).square().mean(), (5, 4))
    assert found.axes["flatten"] == SampleAxis(0, 5)


def test_samples_are_followed_through_another_order_of_the_axes():
    found = padding(lambda x, token: x.transpose(0, 1).unsqueeze(0).square().mean(), (5, 4))
    assert found.axes["unsqueeze"] == SampleAxis(2)


def test_a_token_that_every_sample_gets_is_padded_like_the_samples():
    found = padding(lambda x, token: torch.cat([token.expand(len(x), -1, -1), x], 1).square().mean(), (5, 4))
    assert found.axes["expand"] == SampleAxis(0)
    assert found.axes["cat"] == SampleAxis(0)


def test_inputs_that_differ_in_another_axis_are_refused():
    traces = [trace(Loss(lambda x, token: x.mean()), (torch.randn(n, n, 4),), train=True) for n in (3, 2)]
    with pytest.raises(NotFusible, match="more than the number of samples"):
        compare(traces, (3, 2))
