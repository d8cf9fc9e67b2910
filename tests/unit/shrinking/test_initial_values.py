import pytest
import torch
from torch import nn

from hydro.tuner.shrinking.initial_values import Distribution, InitialValues, measure, resampled


def generator():
    return torch.Generator().manual_seed(0)


def test_constants_are_found_and_drawn():
    found = measure(torch.ones(5), is_parameter=True)
    assert found == InitialValues(Distribution.CONSTANT, mean=1.0)
    assert found.draw(torch.empty(3), 8.0, generator()).tolist() == [1, 1, 1]


@pytest.mark.parametrize("mean", [0.0, 1.0])
def test_normal_values_are_found(mean):
    found = measure(torch.empty(10_000).normal_(mean, 0.02, generator=generator()), is_parameter=True)
    assert found.distribution is Distribution.NORMAL
    assert found.mean == pytest.approx(mean, abs=1e-3)
    assert found.std == pytest.approx(0.02, rel=0.05)


def test_uniform_values_are_found_and_keep_their_family():
    found = measure(torch.empty(10_000).uniform_(-0.3, 0.3, generator=generator()), is_parameter=True)
    drawn = found.draw(torch.empty(10_000), 2.0, generator())
    assert found.distribution is Distribution.UNIFORM
    assert float(drawn.abs().max()) == pytest.approx(0.6, rel=0.02)


def test_torchs_own_initialization_at_the_narrow_width_is_reproduced():
    torch.manual_seed(0)
    wide, narrow = nn.Linear(1024, 1024), nn.Linear(128, 128)
    found = measure(wide.weight, is_parameter=True)
    drawn = found.draw(narrow.weight, 8**0.5, generator())
    assert float(drawn.std()) == pytest.approx(float(narrow.weight.detach().std()), rel=0.02)


def test_tables_of_buffers_are_kept():
    assert measure(torch.arange(4.0), is_parameter=False).distribution is Distribution.KEPT
    with pytest.raises(ValueError, match="copied"):
        InitialValues(Distribution.KEPT).draw(torch.empty(2), 1.0, generator())


def test_a_table_is_resampled_in_pairs():
    assert resampled(torch.arange(16), (4,)).tolist() == [0, 1, 8, 9]
    assert resampled(torch.arange(16), (16,)).tolist() == list(range(16))
    assert resampled(torch.arange(9), (3,)).tolist() == [0, 3, 6]
