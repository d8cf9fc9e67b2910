import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.tuner.shrinking.dimensions import DimensionMismatch, Dimensions


def test_a_dimension_of_size_one_has_no_atoms():
    dimensions = Dimensions()
    assert dimensions.new(1) == ()
    assert dimensions.size(()) == 1


def test_a_pin_reaches_every_dimension_that_is_equal():
    dimensions = Dimensions()
    one, other = dimensions.new(64), dimensions.new(64)
    dimensions.unify(one, other)
    dimensions.pin(other, "an output")
    assert dimensions.pins(one) == ("an output",)


def test_unequal_sizes_cannot_be_unified():
    dimensions = Dimensions()
    with pytest.raises(DimensionMismatch, match="64 cannot equal one of 32"):
        dimensions.unify(dimensions.new(64), dimensions.new(32))


def test_a_whole_unified_with_factors_is_taken_apart():
    dimensions = Dimensions()
    whole, heads, size = dimensions.new(128), dimensions.new(8), dimensions.new(16)
    dimensions.unify(whole, heads + size)
    assert dimensions.atoms(whole) == dimensions.atoms(heads + size)


def test_a_later_split_is_seen_through_earlier_equalities():
    dimensions = Dimensions()
    one, other = dimensions.new(128), dimensions.new(128)
    dimensions.unify(one, other)
    heads, size = dimensions.divide(one, (8, 16))
    assert dimensions.atoms(other) == dimensions.atoms(heads + size)


def test_factors_that_do_not_line_up_are_refused():
    dimensions = Dimensions()
    with pytest.raises(DimensionMismatch):
        dimensions.unify(dimensions.new(4) + dimensions.new(6), dimensions.new(3) + dimensions.new(8))


def test_a_concatenation_of_equal_parts_splits_into_their_number_and_a_part():
    dimensions = Dimensions()
    left, right = dimensions.new(32), dimensions.new(32)
    both = dimensions.total([left, right])
    count, part = dimensions.divide(both, (2, 32))
    assert dimensions.is_pinned(dimensions.atoms(count)[0])
    assert dimensions.atoms(part) == dimensions.atoms(left) == dimensions.atoms(right)


def test_a_concatenation_that_is_cut_elsewhere_keeps_its_size():
    dimensions = Dimensions()
    both = dimensions.total([dimensions.new(16), dimensions.new(48)])
    dimensions.divide(both, (8, 8))
    assert all(dimensions.is_pinned(atom) for atom in dimensions.atoms(both))


def test_a_pinned_sum_pins_its_parts():
    dimensions = Dimensions()
    left, right = dimensions.new(16), dimensions.new(48)
    both = dimensions.total([left, right])
    dimensions.unify(both, dimensions.new(64, "an output"))
    assert dimensions.pins(left) == dimensions.pins(right) == ("an output",)


def test_concatenations_of_the_same_sizes_are_equal_part_by_part():
    dimensions = Dimensions()
    one = [dimensions.new(16), dimensions.new(48)]
    other = [dimensions.new(16), dimensions.new(48)]
    dimensions.unify(dimensions.total(one), dimensions.total(other))
    assert [dimensions.atoms(dim) for dim in one] == [dimensions.atoms(dim) for dim in other]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.data())
def test_regrouping_keeps_the_size_and_the_atoms_in_order(factors, data):
    dimensions = Dimensions()
    whole = dimensions.new(math.prod(factors))
    cut = data.draw(st.integers(0, len(factors)))
    shape = (math.prod(factors[:cut]), math.prod(factors[cut:]))
    parts = dimensions.divide(whole, tuple(factors))
    again = dimensions.divide(tuple(atom for part in parts for atom in part), shape)
    assert tuple(dimensions.size(part) for part in again) == shape
    assert dimensions.atoms(whole) == dimensions.atoms(atom for part in again for atom in part)
