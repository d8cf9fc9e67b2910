import pytest
import torch
from torch import nn

from hydro.tuner.shrinking.classification import Classified, TensorClass
from hydro.tuner.shrinking.parametrization import (
    FAMILIES,
    TABLE,
    Factors,
    OptimizerFamily,
    Parametrization,
    UnknownOptimizer,
    family_of,
    forward_multiplier,
    initial_std_factor,
)

EIGHTH = {
    TensorClass.FIXED: Classified(TensorClass.FIXED, 1, 1),
    TensorClass.VECTOR: Classified(TensorClass.VECTOR, 1, 1 / 8),
    TensorClass.HIDDEN: Classified(TensorClass.HIDDEN, 1 / 8, 1 / 4),
    TensorClass.READOUT: Classified(TensorClass.READOUT, 1 / 8, 1),
    TensorClass.MULTIPLIED_READOUT: Classified(TensorClass.MULTIPLIED_READOUT, 1 / 8, 1),
}
PARAMETRIZATION = Parametrization({each.value: classified for each, classified in EIGHTH.items()})


@pytest.mark.parametrize(
    ("tensor_class", "optimizer_type", "expected"),
    [
        ("fixed", torch.optim.SGD, Factors(1, 1, 1)),
        ("vector", torch.optim.SGD, Factors(1 / 8, 8, 1)),
        ("hidden", torch.optim.SGD, Factors(2, 1 / 2, 1)),
        ("readout", torch.optim.SGD, Factors(8, 1 / 8, 1)),
        ("multiplied readout", torch.optim.SGD, Factors(1 / 8, 8, 1)),
        ("vector", torch.optim.AdamW, Factors(1, 1, 8)),
        ("hidden", torch.optim.AdamW, Factors(8, 1 / 8, 4)),
        ("readout", torch.optim.AdamW, Factors(8, 1 / 8, 1)),
        ("multiplied readout", torch.optim.AdamW, Factors(1, 1, 8)),
        ("hidden", torch.optim.Adam, Factors(8, 1 / 2, 4)),
        ("hidden", torch.optim.RMSprop, Factors(8, 1 / 2, 4)),
        ("hidden", torch.optim.Adagrad, Factors(8, 1 / 2, 4)),
    ],
)
def test_factors_follow_the_table(tensor_class, optimizer_type, expected):
    assert PARAMETRIZATION.factors(tensor_class, optimizer_type) == expected


def test_every_class_that_shrinks_has_a_row_with_its_source_for_every_family():
    trained = set(TensorClass) - {TensorClass.FIXED, TensorClass.BUFFER}
    assert set(TABLE) == {(each, family) for each in trained for family in OptimizerFamily}
    assert all("TP-V" in row.source for row in TABLE.values())


def test_the_learning_rate_times_decoupled_weight_decay_is_the_targets():
    for (_, family), row in TABLE.items():
        if family is not OptimizerFamily.ADAM:
            assert all(lr + decay == 0 for lr, decay in zip(row.lr, row.weight_decay, strict=True))


def test_at_the_target_every_factor_is_one():
    for tensor_class in EIGHTH:
        anchored = Classified(tensor_class, 1.0, 1.0)
        for optimizer_type in FAMILIES:
            assert Parametrization({"it": anchored}).factors("it", optimizer_type) == Factors(1, 1, 1)
        assert initial_std_factor(anchored) == forward_multiplier(anchored, 1.0) == 1


def test_initial_values_follow_the_table():
    assert initial_std_factor(EIGHTH[TensorClass.HIDDEN]) == pytest.approx(8**0.5)
    assert initial_std_factor(EIGHTH[TensorClass.READOUT]) == 8
    assert initial_std_factor(EIGHTH[TensorClass.MULTIPLIED_READOUT]) == 1


def test_only_the_multiplied_readout_multiplies_and_not_where_it_is_looked_up():
    tied = EIGHTH[TensorClass.MULTIPLIED_READOUT]
    assert forward_multiplier(tied, 1 / 8) == 8
    assert forward_multiplier(tied, 1.0) == 1
    assert forward_multiplier(EIGHTH[TensorClass.READOUT], 1 / 8) == 1


class Sign(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= group["lr"] * parameter.grad.sign()


class SquareRoot(Sign):
    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= group["lr"] * parameter.grad.abs().sqrt()


class Momentum(torch.optim.SGD):
    pass


def test_an_optimizer_of_ones_own_is_probed():
    assert family_of(Sign) is OptimizerFamily.ADAM


def test_a_subclass_is_of_its_parents_family():
    assert family_of(Momentum) is OptimizerFamily.SGD


def test_an_optimizer_of_no_family_is_refused_with_what_to_do():
    with pytest.raises(
        UnknownOptimizer, match=r"SquareRoot change with the width is not known: use one of .*AdamW.* or width 1"
    ):
        family_of(SquareRoot)


def test_applying_keeps_the_users_groups_and_scales_each_parameter():
    model = nn.Module()
    model.hidden = nn.Parameter(torch.zeros(2, 2))
    model.vector = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.AdamW(
        [{"params": [model.hidden], "weight_decay": 0.4}, {"params": [model.vector], "weight_decay": 0.0}],
        lr=0.01,
        eps=1e-8,
    )
    PARAMETRIZATION.apply(optimizer, model)
    hidden, vector = optimizer.param_groups
    assert (hidden["lr"], hidden["weight_decay"], hidden["eps"]) == pytest.approx((0.08, 0.05, 4e-8))
    assert (vector["lr"], vector["weight_decay"], vector["eps"]) == pytest.approx((0.01, 0.0, 8e-8))
