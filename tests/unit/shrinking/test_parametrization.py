import math

import pytest
import torch
from torch import nn

from hydro.tuner.shrinking.classification import Classified, TensorClass
from hydro.tuner.shrinking.optimizer_families import FAMILIES, CoupledWeightDecay, UnknownOptimizer, family_of
from hydro.tuner.shrinking.parametrization import Factors, Parametrization
from hydro.tuner.shrinking.rule_table import NEURAL_TANGENT, TRAINED, OptimizerFamily, row, scales, table

VECTOR_LIKE = ("input", "vector", "depthwise", "grouped by count")
HIDDEN_LIKE = ("hidden", "grouped by size")
MULTIPLIED = ("multiplied readout", "tied")

EIGHTH = {
    "fixed": Classified(TensorClass.FIXED, 1, 1),
    **{each: Classified(TensorClass(each), 1, 1 / 8) for each in VECTOR_LIKE},
    **{each: Classified(TensorClass(each), 1 / 8, 1 / 4) for each in HIDDEN_LIKE},
    **{each: Classified(TensorClass(each), 1 / 8, 1) for each in ("readout", *MULTIPLIED)},
}
PARAMETRIZATION = Parametrization(EIGHTH)

# TP-V, Tables 3 and 8, and `derived` rows by hand; m_in = 1/8 and m_out = 1/4 where both shrink.
EXPECTED = {
    torch.optim.SGD: {VECTOR_LIKE: Factors(1 / 8, 8), HIDDEN_LIKE: Factors(2, 1 / 2), ("readout",): Factors(8, 1 / 8),
                      MULTIPLIED: Factors(1 / 8, 8)},
    torch.optim.AdamW: {VECTOR_LIKE: Factors(1, 1, 8), HIDDEN_LIKE: Factors(8, 1 / 8, 4),
                        ("readout",): Factors(8, 1 / 8), MULTIPLIED: Factors(1, 1, 8)},
    torch.optim.Adam: {VECTOR_LIKE: Factors(1, 1, 8), HIDDEN_LIKE: Factors(8, 1, 4), ("readout",): Factors(8),
                       MULTIPLIED: Factors(1, 1, 8)},
    torch.optim.RMSprop: {VECTOR_LIKE: Factors(1, 1, 8), HIDDEN_LIKE: Factors(8, 1, 4), ("readout",): Factors(8),
                          MULTIPLIED: Factors(1, 1, 8)},
    torch.optim.Adagrad: {VECTOR_LIKE: Factors(1, 1, 8, 1, 64), HIDDEN_LIKE: Factors(8, 1, 4, 1, 16),
                          ("readout",): Factors(8), MULTIPLIED: Factors(1, 1, 8, 1, 64)},
    torch.optim.Adafactor: {VECTOR_LIKE: Factors(1, 1, 8), HIDDEN_LIKE: Factors(8**0.5, 8**-0.5, 4, 8**0.5),
                            ("readout",): Factors(1, 1, 1, 8), MULTIPLIED: Factors(1, 1, 8)},
}  # fmt: skip


def by_class(optimizer_type):
    return {name: factors for names, factors in EXPECTED[optimizer_type].items() for name in names}


@pytest.mark.parametrize("optimizer_type", EXPECTED)
def test_factors_follow_the_table(optimizer_type):
    found = {name: PARAMETRIZATION.factors(name, optimizer_type) for name in EIGHTH}
    assert found.pop("fixed") == Factors()
    for name, expected in by_class(optimizer_type).items():
        each = found[name]
        assert (each.lr, each.weight_decay, each.eps, each.floor, each.squares) == pytest.approx(
            (expected.lr, expected.weight_decay, expected.eps, expected.floor, expected.squares)
        ), name


def test_every_class_that_shrinks_has_a_row_with_its_source_for_every_family():
    assert set(TRAINED) == set(TensorClass) - {TensorClass.FIXED, TensorClass.BUFFER}
    assert set(table()) == {(each, family) for each in TRAINED for family in OptimizerFamily}
    for each in table().values():
        assert "TP-V" in each.source or "derived" in each.source


def test_the_learning_rate_times_weight_decay_is_the_targets_wherever_decay_has_a_rule():
    for (_, family), each in table().items():
        if each.weight_decay is not None:
            assert all(lr + decay == 0 for lr, decay in zip(each.lr, each.weight_decay, strict=True))
        else:
            assert family.value in ("Adam", "RMSprop", "Adagrad", "Adadelta")


def test_at_the_target_every_factor_is_one():
    for tensor_class in TRAINED:
        anchored = Parametrization({"it": Classified(tensor_class, 1.0, 1.0)}, {"it": ((4, 8), (4, 8))})
        assert all(anchored.factors("it", each) == Factors() for each in FAMILIES)
        assert anchored.initial_std_factor("it") == anchored.forward_multiplier("it", 1.0) == 1


def test_initial_values_follow_the_table():
    factors = {name: PARAMETRIZATION.initial_std_factor(name) for name in EIGHTH}
    expected = dict.fromkeys(EIGHTH, 1.0) | dict.fromkeys(HIDDEN_LIKE, 8**0.5) | {"readout": 8}
    assert factors == pytest.approx(expected)


def test_only_multiplied_and_tied_readouts_multiply_and_not_where_they_are_looked_up():
    assert PARAMETRIZATION.forward_multiplier("tied", 1 / 8) == 8
    assert PARAMETRIZATION.forward_multiplier("multiplied readout", 1 / 8) == 8
    assert PARAMETRIZATION.forward_multiplier("tied", 1.0) == 1
    assert PARAMETRIZATION.forward_multiplier("readout", 1 / 8) == 1


def test_both_forms_of_the_readout_are_one_parametrization():
    # What a multiplied weight is times its multiplier is the plain weight: so must be values, gradients and updates.
    for p in (1.0, 0.5, NEURAL_TANGENT):
        plain, multiplied = scales(TensorClass.READOUT, p), scales(TensorClass.MULTIPLIED_READOUT, p)
        factor = multiplied.multiplier[0]
        assert multiplied.initial_std[0] + factor == pytest.approx(plain.initial_std[0])
        assert multiplied.update[0] + factor == pytest.approx(plain.update[0])
        assert multiplied.gradient[0] - factor == pytest.approx(plain.gradient[0])


def test_the_neural_tangent_parametrization_is_the_other_end_of_the_family():
    # Exponents of learning rates in standard units: arXiv:2210.04909, section 3, with s = 0.
    rates = {each: row(each, OptimizerFamily.SGD, NEURAL_TANGENT).lr for each in TRAINED}
    assert rates[TensorClass.INPUT] == rates[TensorClass.VECTOR] == (0, 0)
    assert rates[TensorClass.HIDDEN] == (-1, 0)
    assert rates[TensorClass.READOUT] == (-1, 0)
    assert row(TensorClass.READOUT, OptimizerFamily.SGD, NEURAL_TANGENT).initial_std == (-0.5, 0)
    assert row(TensorClass.HIDDEN, OptimizerFamily.ADAM, NEURAL_TANGENT).lr == (-1, -0.5)


@pytest.mark.parametrize(
    ("name", "adjust_lr_fn", "shapes", "expected"),
    [
        ("hidden", "original", ((64, 64), (8, 8)), 1.0),
        ("hidden", "original", ((256, 64), (32, 8)), 1.0),
        ("hidden", "match_rms_adamw", ((64, 64), (8, 8)), 8**0.5),
        # A transposed weight: torch takes its rows for fan-out, whose ratio it is not.
        ("hidden", "match_rms_adamw", ((64, 256), (8, 32)), 8**0.5),
        ("input", "original", ((64, 10), (8, 10)), 8**-0.5 * math.sqrt(6.4)),
        ("readout", "original", ((10, 64), (10, 8)), 8**0.5 * math.sqrt(1 / 1.25)),
        ("vector", "match_rms_adamw", ((100, 64), (100, 8)), 1.0),
    ],
)
def test_muons_updates_have_the_spectral_norm_of_the_rule_whatever_torch_adjusts(name, adjust_lr_fn, shapes, expected):
    square = EIGHTH | {"hidden": Classified(TensorClass.HIDDEN, 1 / 8, 1 / 8)}
    factors = Parametrization(square, {name: shapes}).factors(name, torch.optim.Muon, {"adjust_lr_fn": adjust_lr_fn})
    assert factors.lr == pytest.approx(expected)
    assert factors.weight_decay == pytest.approx(1 / expected)


class Sign(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= group["lr"] * self.direction(parameter.grad)

    def direction(self, gradient):
        return gradient.sign()


class DecayingSign(Sign):
    def __init__(self, params, lr, weight_decay=0.0):
        torch.optim.Optimizer.__init__(self, params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter *= 1 - group["lr"] * group["weight_decay"]
        super().step()


class SquareRoot(Sign):
    def direction(self, gradient):
        return gradient.abs().sqrt()


class Normalized(Sign):
    def direction(self, gradient):
        return gradient / gradient.norm()


class Momentum(torch.optim.SGD):
    pass


def test_an_optimizer_of_ones_own_is_probed():
    assert family_of(Sign) is OptimizerFamily.ADAM
    assert family_of(DecayingSign) is OptimizerFamily.ADAMW


def test_a_subclass_is_of_its_parents_family():
    assert family_of(Momentum) is OptimizerFamily.SGD


def test_an_adam_with_decoupled_decay_is_an_adamw():
    assert family_of(torch.optim.NAdam, {"decoupled_weight_decay": True}) is OptimizerFamily.ADAMW


@pytest.mark.parametrize("optimizer_type", [SquareRoot, Normalized])
def test_an_optimizer_of_no_family_is_refused_with_what_to_do(optimizer_type):
    with pytest.raises(
        UnknownOptimizer,
        match=rf"{optimizer_type.__name__} change with the width is not known: use one of .*AdamW.* or width 1",
    ):
        family_of(optimizer_type)


@pytest.mark.parametrize("optimizer_type", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad])
def test_decay_inside_a_normalized_gradient_is_refused_with_what_to_use_instead(optimizer_type):
    with pytest.raises(CoupledWeightDecay, match=rf"weight_decay is 0.1, and {optimizer_type.__name__} .*AdamW"):
        PARAMETRIZATION.factors("hidden", optimizer_type, {"weight_decay": 0.1})
    PARAMETRIZATION.factors("hidden", optimizer_type, {"weight_decay": 0.0})


def test_options_without_a_factor_stay():
    options = {"lr": 1.0, "eps": (None, 1e-3), "maximize": True, "amsgrad": True, "foreach": None, "betas": (0.9, 0.99)}
    scaled = Factors(lr=2.0, eps=4.0, floor=8.0).scaled(options)
    assert scaled == options | {"lr": 2.0, "eps": (None, 8e-3)}


def model_of_two():
    model = nn.Module()
    model.hidden = nn.Parameter(torch.ones(2, 2))
    model.vector = nn.Parameter(torch.ones(2))
    return model


def stepped(optimizer, model):
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return [round(float(1 - parameter.detach().mean()), 6) for parameter in model.parameters()]


def test_each_parameter_steps_with_its_own_factors_and_groups_keep_the_users_numbers():
    model = model_of_two()
    groups = [{"params": [model.hidden], "lr": 0.1}, {"params": [model.vector]}]
    optimizer = torch.optim.SGD(groups, lr=0.8)
    PARAMETRIZATION.apply(optimizer, model)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.8]
    assert stepped(optimizer, model) == [0.2, 0.1]
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.8]


def test_a_group_whose_parameters_differ_in_their_factors_is_split_for_the_step():
    model = model_of_two()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    PARAMETRIZATION.apply(optimizer, model)
    assert stepped(optimizer, model) == pytest.approx([0.2, 0.0125])
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("is_made_first", [True, False])
def test_a_schedule_that_sets_learning_rates_is_right_for_every_parameter(is_made_first):
    model = model_of_two()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if not is_made_first:
        PARAMETRIZATION.apply(optimizer, model)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.4, total_steps=10, cycle_momentum=False)
    if is_made_first:
        PARAMETRIZATION.apply(optimizer, model)
    start = optimizer.param_groups[0]["lr"]
    assert stepped(optimizer, model) == pytest.approx([2 * start, start / 8])
    schedule.step()
    assert optimizer.param_groups[0]["lr"] > start


def test_applying_twice_scales_once():
    model = model_of_two()
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.1, initial_accumulator_value=1.0)
    PARAMETRIZATION.apply(optimizer, model)
    PARAMETRIZATION.apply(optimizer, model)
    assert [float(slots["sum"].mean()) for slots in optimizer.state.values()] == [16, 64]
    assert stepped(optimizer, model) == pytest.approx([0.8 / 17**0.5, 0.1 / 65**0.5], abs=1e-6)
