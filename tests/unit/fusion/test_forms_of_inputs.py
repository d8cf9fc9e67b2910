"""A GroupedModel takes whatever its model takes: other shapes, types and nestings than the example's."""

import copy
import pickle

import pytest
import torch
from torch import nn

from hydro.tuner import fuse
from hydro.tuner.fusion import lane_programs
from hydro.tuner.fusion.report import Tier


class Sequences(nn.Module):
    """Takes sequences of any length, a mask if there is one, and a number."""

    def __init__(self, seed, p=0.0):
        super().__init__()
        torch.manual_seed(seed)
        self.layer, self.norm, self.dropout = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(p)
        self.double()

    def forward(self, x, mask=None, scale=1.0):
        y = self.norm(self.layer(x).transpose(1, 2)).transpose(1, 2) * scale
        y = y if mask is None else y.masked_fill(mask.unsqueeze(-1), 0)
        return self.dropout(y).sum(1)


def draw(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


EXAMPLE = (draw(6, 5, 3),)


def models(count=3, p=0.0):
    return [Sequences(seed, p).train() for seed in range(count)]


def assert_equals_models(grouped, alone, *inputs, **keywords):
    outputs = grouped(*inputs, **keywords)
    assert len(outputs) == len(alone)
    for lane, model in enumerate(alone):
        assert torch.allclose(outputs[lane], model(*inputs, **keywords), rtol=0, atol=1e-12)


def count_traces(monkeypatch):
    calls = []
    real = lane_programs.trace
    monkeypatch.setattr(lane_programs, "trace", lambda *args, **kwargs: calls.append(1) or real(*args, **kwargs))
    return calls


def test_a_ragged_last_batch_and_other_lengths_are_traced_once_each(monkeypatch):
    alone = models()
    grouped = fuse(alone, EXAMPLE)
    traces = count_traces(monkeypatch)
    for _ in range(2):
        for batch, length in ((6, 5), (2, 5), (6, 9), (1, 3)):
            assert_equals_models(grouped, alone, draw(batch, length, 3))
    assert len(traces) == 3
    for lane, model in enumerate(alone):
        state = grouped.lane_state_dict(lane)
        assert all(torch.allclose(state[name], each, atol=1e-12) for name, each in model.state_dict().items())


def test_lanes_with_inputs_of_their_own_have_any_length_too():
    alone = models()
    grouped = fuse(alone, EXAMPLE)
    own = draw(3, 2, 7, 3)
    outputs = grouped(own, lane_inputs=True)
    for lane, model in enumerate(alone):
        assert torch.allclose(outputs[lane], model(own[lane]), rtol=0, atol=1e-12)


def test_arguments_that_the_example_leaves_out_may_be_given():
    alone = models()
    grouped = fuse(alone, EXAMPLE)
    mask = draw(6, 5) > 0
    for given in ((), (mask,)):
        assert_equals_models(grouped, alone, *EXAMPLE, *given)
    assert_equals_models(grouped, alone, *EXAMPLE, mask=mask)


def test_a_python_number_counts_as_it_is_given_at_each_call():
    alone = models()
    grouped = fuse(alone, (*EXAMPLE, None, 2.0))
    for scale in (2.0, 0.5, 1):
        assert_equals_models(grouped, alone, *EXAMPLE, None, scale)


def test_lanes_come_go_and_differ_under_inputs_of_every_shape():
    alone = models(4)
    grouped = fuse(alone[:3], EXAMPLE)
    short = draw(2, 4, 3)
    assert_equals_models(grouped, alone[:3], short)
    grouped.take([2, 0])
    grouped.insert(alone[3])
    grouped.insert(Sequences(7, p=1.0))
    outputs = grouped(short)
    assert not outputs[3].any()
    for lane, model in enumerate((alone[2], alone[0], alone[3])):
        assert torch.allclose(outputs[lane], model(short), rtol=0, atol=1e-12)


def test_modes_keep_their_own_programs(monkeypatch):
    alone = models()
    grouped = fuse(alone, EXAMPLE)
    traces = count_traces(monkeypatch)
    for training in (False, True, False):
        grouped.train(training)
        for model in alone:
            model.train(training)
        assert_equals_models(grouped, alone, draw(2, 4, 3))
    assert len(traces) == 2


def test_a_bounded_number_of_programs_is_kept(monkeypatch):
    monkeypatch.setattr(lane_programs, "KEPT_FORMS", 2)
    alone = models(1)
    grouped = fuse(alone, EXAMPLE)
    traces = count_traces(monkeypatch)
    for length in (5, 2, 5, 3, 5, 2):
        assert_equals_models(grouped, alone, draw(6, length, 3))
    # The example's stays, as it is used in between; the two others take turns.
    assert len(traces) == 3


def test_the_report_tells_of_the_inputs_used_last():
    grouped = fuse(models(), EXAMPLE)
    ops = set(grouped.report.tiers())
    grouped(*EXAMPLE, draw(6, 5) > 0)
    assert set(grouped.report.tiers()) - ops == {"unsqueeze.default", "masked_fill.Scalar"}
    grouped(*EXAMPLE)
    assert set(grouped.report.tiers()) == ops


def test_the_report_outlives_lanes_that_leave():
    grouped = fuse([Sequences(0), Sequences(1, p=0.5)], EXAMPLE)
    grouped(*EXAMPLE, draw(6, 5) > 0)
    grouped.take([1])
    assert "masked_fill.Scalar" in grouped.report.tiers()


def test_what_the_model_does_not_take_it_says_itself():
    alone = models()
    grouped = fuse(alone, EXAMPLE)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        grouped(draw(6, 5, 4))
    with pytest.raises(TypeError, match="positional arguments"):
        grouped(*EXAMPLE, None, 1.0, None)
    assert_equals_models(grouped, alone, *EXAMPLE)
    assert grouped.report.count(Tier.SEPARATE) == 0


def test_copies_take_other_shapes():
    alone = models()
    grouped = fuse(alone, EXAMPLE)
    grouped(draw(2, 5, 3))
    for other in (copy.deepcopy(grouped), pickle.loads(pickle.dumps(grouped))):
        assert_equals_models(other, copy.deepcopy(alone), draw(3, 5, 3))
