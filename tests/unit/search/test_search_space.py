"""What a search space may be, and what is active in it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.coordinator.search_space import (
    CategoricalDomain,
    Condition,
    ConstantDomain,
    FloatDomain,
    IntDomain,
    Parameter,
    SearchSpace,
    validate,
    validate_hyperparameters,
)

LR = Parameter("lr", FloatDomain(1e-3, 1.0, log=True))
OPTIMIZER = Parameter("optimizer", CategoricalDomain(("sgd", "adam")))
BETA = Parameter("beta", FloatDomain(0.8, 0.99), (Condition("optimizer", ("adam",)),))


def found(*parameters):
    """Violations as {field below study.search_space: description}."""
    violations = validate(SearchSpace(parameters))
    return {each.field.removeprefix("study.search_space."): each.description for each in violations}


def faults_of(domain):
    return found(Parameter("x", domain))


def test_a_good_space_has_no_violations():
    assert (
        found(BETA, LR, OPTIMIZER, Parameter("epochs", ConstantDomain(3)), Parameter("n", IntDomain(1, 9, step=2)))
        == {}
    )


def test_an_empty_space_says_what_to_do():
    assert found() == {"parameters": "is empty: give at least one parameter to search"}


def test_a_name_twice_names_the_second_one():
    assert list(found(LR, LR)) == ["parameters[1].name"]
    assert "'lr'" in found(LR, LR)["parameters[1].name"]


@pytest.mark.parametrize("name", ["", "1lr", "a b", "lr\n", "a" * 201])
def test_a_bad_name_is_refused(name):
    assert list(found(Parameter(name, FloatDomain(0, 1)))) == ["parameters[0].name"]


@pytest.mark.parametrize(
    ("domain", "field", "words"),
    [
        (FloatDomain(2.0, 1.0), "float_domain.min", "is 2.0, more than max 1.0"),
        (FloatDomain(0.0, 1.0, log=True), "float_domain.min", "is 0.0 with log: give more than 0"),
        (FloatDomain(-1.0, 1.0, log=True), "float_domain.min", "is -1.0 with log"),
        (FloatDomain(0.1, 1.0, log=True, step=0.1), "float_domain.step", "is 0.1 with log"),
        (FloatDomain(0.0, 1.0, step=-0.1), "float_domain.step", "is -0.1: give more than 0"),
        (FloatDomain(0.0, 1.0, step=2.0), "float_domain.step", "is 2.0, more than it is from min 0.0 to max 1.0"),
        (FloatDomain(math.nan, 1.0), "float_domain.min", "is nan: give a finite number"),
        (FloatDomain(0.0, math.inf), "float_domain.max", "is inf: give a finite number"),
        (FloatDomain(0.0, 1.0, step=math.nan), "float_domain.step", "is nan"),
        (FloatDomain(-1e308, 1e308), "float_domain.max", "too far from min"),
        (IntDomain(5, 4), "int_domain.min", "is 5, more than max 4"),
        (IntDomain(0, 4, log=True), "int_domain.min", "is 0 with log: give 1 or more"),
        (IntDomain(1, 4, log=True, step=2), "int_domain.step", "is 2 with log"),
        (IntDomain(1, 4, step=-1), "int_domain.step", "is -1"),
        (IntDomain(1, 4, step=4), "int_domain.step", "is 4, more than it is from min 1 to max 4"),
        (IntDomain(1, 2**60), "int_domain.max", "give at most 2^53"),
        (CategoricalDomain(()), "categorical_domain.values", "is empty"),
        (CategoricalDomain((1, 2, 1.0)), "categorical_domain.values", "has 1.0 twice"),
        (CategoricalDomain((1, math.nan)), "categorical_domain.values", "has nan"),
        (ConstantDomain(math.inf), "constant_domain.value", "has inf"),
    ],
)
def test_a_contradictory_domain_names_field_value_and_remedy(domain, field, words):
    faults = faults_of(domain)
    assert list(faults) == [f"parameters[0].{field}"]
    assert words in faults[f"parameters[0].{field}"]


def test_true_and_one_are_two_values():
    assert faults_of(CategoricalDomain((1, True, "1"))) == {}


def test_a_condition_on_an_unknown_parameter_lists_the_known_ones():
    child = Parameter("beta", FloatDomain(0, 1), (Condition("optimiser", ("adam",)),))
    assert found(OPTIMIZER, child) == {
        "parameters[1].conditions[0].parent": "is 'optimiser', no parameter: give one of optimizer, beta"
    }


def test_a_condition_on_a_value_the_parent_cannot_take_is_refused():
    child = Parameter("beta", FloatDomain(0, 1), (Condition("optimizer", ("adam", "lamb")),))
    faults = found(OPTIMIZER, child)
    assert faults == {"parameters[1].conditions[0].values": "has 'lamb', but 'optimizer' is one of 'sgd', 'adam'"}


def test_a_condition_without_values_is_refused():
    assert list(found(OPTIMIZER, Parameter("b", FloatDomain(0, 1), (Condition("optimizer", ()),)))) == [
        "parameters[1].conditions[0].values"
    ]


def test_conditions_that_never_hold_together_are_refused():
    conditions = (Condition("optimizer", ("adam",)), Condition("optimizer", ("sgd",)))
    faults = found(OPTIMIZER, Parameter("b", FloatDomain(0, 1), conditions))
    assert "never active" in faults["parameters[1].conditions"]


def test_each_parameter_of_a_circle_is_named_and_no_other():
    def after(name, parent):
        return Parameter(name, CategoricalDomain((1, 2)), (Condition(parent, (1,)),))

    faults = found(after("a", "c"), after("b", "a"), after("c", "b"), after("outside", "a"), after("self", "self"))
    assert list(faults) == [f"parameters[{index}].conditions" for index in (0, 1, 2, 4)]


def test_every_fault_is_found_at_once():
    faults = found(LR, Parameter("lr", FloatDomain(2, 1)), Parameter("n", IntDomain(0, 4, log=True)))
    assert list(faults) == ["parameters[1].name", "parameters[1].float_domain.min", "parameters[2].int_domain.min"]


def test_active_gives_parents_before_children_whatever_their_order():
    space = SearchSpace((BETA, LR, OPTIMIZER))
    names = [each.name for each in space.active({"optimizer": "adam", "lr": 0.1, "beta": 0.9})]
    assert names == ["lr", "optimizer", "beta"]
    assert [each.name for each in space.active({"optimizer": "sgd", "lr": 0.1})] == ["lr", "optimizer"]


def test_a_child_of_an_inactive_parent_is_inactive():
    nested = Parameter("gamma", FloatDomain(0, 1), (Condition("beta", (0.9,)),))
    space = SearchSpace((OPTIMIZER, BETA, nested))
    assert [each.name for each in space.active({"optimizer": "sgd", "beta": 0.9})] == ["optimizer"]


def test_held_parameters_are_constants_and_keep_their_conditions():
    held = SearchSpace((OPTIMIZER, BETA)).hold({"beta": 0.95, "other": 1})
    assert held.parameters[0] == OPTIMIZER
    assert held.parameters[1].domain == ConstantDomain(0.95)
    assert held.parameters[1].conditions == BETA.conditions


def test_without_a_parent_its_children_go_too():
    assert SearchSpace((BETA, LR, OPTIMIZER)).without(["optimizer"]) == SearchSpace((LR,))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"lr": 0.1, "optimizer": "adam"}, "hyperparameters['beta']"),
        ({"lr": 0.1, "optimizer": "sgd", "beta": 0.9}, "hyperparameters['beta']"),
        ({"lr": 10.0, "optimizer": "sgd"}, "hyperparameters['lr']"),
        ({"lr": True, "optimizer": "sgd"}, "hyperparameters['lr']"),
        ({"lr": 0.1, "optimizer": "sgd", "momentum": 0.9}, "hyperparameters['momentum']"),
    ],
)
def test_hyperparameters_that_are_no_trial_of_the_space_are_refused(values, field):
    assert [each.field for each in validate_hyperparameters(SearchSpace((LR, OPTIMIZER, BETA)), values)] == [field]


def test_hyperparameters_of_a_trial_are_accepted():
    assert validate_hyperparameters(SearchSpace((LR, OPTIMIZER, BETA)), {"optimizer": "sgd", "lr": 1}) == []


@given(st.integers(-50, 50), st.integers(0, 60), st.integers(1, 7), st.integers(-120, 120))
def test_an_int_domain_contains_what_its_range_does(low, extent, step, value):
    domain = IntDomain(low, low + extent, step=step)
    assert domain.contains(value) == (value in range(low, low + extent + 1, step))


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 10), st.integers(0, 1000))
def test_a_float_domain_contains_its_steps_and_not_what_lies_between(low, step, count):
    domain = FloatDomain(low, low + 1001 * step, step=step)
    assert domain.contains(low + count * step)
    assert not domain.contains(low + (count + 0.5) * step)
