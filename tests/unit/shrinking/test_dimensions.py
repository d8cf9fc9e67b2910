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


def test_factors_that_do_not_line_up_meet_in_common_ones():
    dimensions = Dimensions()
    one, other = dimensions.new(4) + dimensions.new(6), dimensions.new(3) + dimensions.new(8)
    dimensions.unify(one, other)
    assert sorted(dimensions.atoms(one)) == sorted(dimensions.atoms(other))
    assert sorted(dimensions.size((atom,)) for atom in dimensions.atoms(one)) == [2, 3, 4]


def test_a_dimension_is_divided_only_into_what_it_holds():
    dimensions = Dimensions()
    with pytest.raises(DimensionMismatch, match=r"24 has no factors \(5, 5\)"):
        dimensions.divide(dimensions.new(24), (5, 5))


def test_halves_of_shuffled_channels_need_no_even_number_of_them():
    dimensions = Dimensions()
    channels = dimensions.new(29)
    shuffled = channels + dimensions.new(2, "the number of branches")
    assert dimensions.share(shuffled, 2) == channels


def test_equal_parts_are_the_outer_factor_of_a_dimension():
    dimensions = Dimensions()
    fused = dimensions.new(2304)
    part = dimensions.share(fused, 3)
    assert dimensions.size(part) == 768
    assert not dimensions.pins(part)
    assert dimensions.size(fused) == 2304
    with pytest.raises(DimensionMismatch, match="no 5 equal parts"):
        dimensions.share(part, 5)


def test_a_concatenation_of_whole_rows_is_divided_into_rows():
    dimensions = Dimensions()
    queries, keys = dimensions.new(64), dimensions.new(16)
    heads, size = dimensions.divide(dimensions.total([queries, keys]), (10, 8))
    assert not dimensions.pins(heads)
    assert [dimensions.size((atom,)) for atom in dimensions.atoms(queries)] == [8, 8]
    assert dimensions.atoms(queries)[1] == dimensions.atoms(keys)[1] == dimensions.atoms(size)[0]


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
    dimensions.divide(both, (2, 32))
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


@given(st.lists(st.integers(2, 12), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_any_two_factorizations_of_a_size_can_be_equal(factors, random):
    dimensions = Dimensions()
    primes = [prime for factor in factors for prime in ([2] * 4 + [3, 3, 5, 7, 11]) if factor % prime == 0]
    size = math.prod(primes)
    random.shuffle(primes)
    cut = random.randrange(len(primes) + 1)
    one = dimensions.new(math.prod(primes[:cut])) + dimensions.new(math.prod(primes[cut:]))
    random.shuffle(primes)
    other = dimensions.new(math.prod(primes[:cut])) + dimensions.new(math.prod(primes[cut:]))
    dimensions.unify(one, other)
    assert sorted(dimensions.atoms(one)) == sorted(dimensions.atoms(other))
    assert dimensions.size(one) == dimensions.size(other) == size
