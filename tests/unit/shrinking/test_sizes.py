import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.tuner.shrinking.dimensions import Dimensions
from hydro.tuner.shrinking.given_sizes import fit_sizes
from hydro.tuner.shrinking.sizes import WidthTooSmall, solve


def test_heads_shrink_before_what_is_inside_a_head():
    dimensions = Dimensions()
    heads, size = dimensions.new(8), dimensions.new(16)
    sizes = solve(dimensions, {"qkv": (heads + size,)}, 1 / 8)
    assert (sizes.of(heads), sizes.of(size)) == (1, 16)


def test_the_size_of_a_head_gives_what_heads_cannot():
    dimensions = Dimensions()
    heads, size = dimensions.new(4), dimensions.new(16)
    sizes = solve(dimensions, {"qkv": (heads + size,)}, 1 / 8)
    assert (sizes.of(heads), sizes.of(size)) == (1, 8)


def test_a_deferred_atom_shrinks_last():
    dimensions = Dimensions()
    groups, inside = dimensions.new(8), dimensions.new(4)
    dimensions.defer(groups, 2)
    sizes = solve(dimensions, {"weight": (groups + inside, inside)}, 1 / 8)
    assert (sizes.of(groups), sizes.of(inside)) == (4, 1)


def test_a_concatenation_is_as_large_as_its_parts_together():
    dimensions = Dimensions()
    left, right = dimensions.new(20), dimensions.new(30)
    both = dimensions.total([left, right])
    sizes = solve(dimensions, {"left": (left,), "right": (right,), "next": (both,)}, 1 / 8)
    assert (sizes.of(left), sizes.of(right), sizes.of(both)) == (3, 4, 7)


def test_a_concatenation_inside_a_head_keeps_its_size_where_the_number_of_heads_gives_the_shape():
    dimensions = Dimensions()
    heads, turned, plain = dimensions.new(16), dimensions.new(5), dimensions.new(3)
    inside = dimensions.total([turned, plain])
    for tensors in ({"heads": (heads,), "query": (heads + inside,)}, {"query": (heads + inside,)}):
        sizes = fit_sizes(dimensions, tensors, {"heads": (8,), "query": (64,)})
        assert [sizes.of(dim) for dim in (heads, turned, plain)] == [8, 5, 3]


def test_an_empty_part_of_a_concatenation_stays_empty():
    dimensions = Dimensions()
    empty, rest = dimensions.new(0), dimensions.new(8)
    whole = dimensions.total([empty, rest])
    assert solve(dimensions, {"rest": (rest,), "whole": (whole,)}, 1 / 2).of(whole) == 4
    assert fit_sizes(dimensions, {"whole": (whole,)}, {"whole": (4,)}).of(empty) == 0


def test_ratios_are_the_true_ones_after_rounding():
    dimensions = Dimensions()
    odd = dimensions.new(12)
    assert solve(dimensions, {"weight": (odd,)}, 1 / 8).ratio(odd) == 2 / 12


def test_pinned_sizes_stay():
    dimensions = Dimensions()
    kernel = dimensions.new(3, "a kernel")
    assert solve(dimensions, {"weight": (kernel,)}, 1 / 8).of(kernel) == 3


def test_a_width_that_leaves_no_channel_is_refused_with_the_smallest_that_works():
    dimensions = Dimensions()
    tensors = {"head": (dimensions.new(64),), "stem.weight": (dimensions.new(32),)}
    with pytest.raises(WidthTooSmall, match=r"no channel of head: its axis 0, .* has 64.*that works is 0\.015625") as e:
        solve(dimensions, tensors, 1 / 100)
    assert e.value.smallest_width == 1 / 64


@pytest.mark.parametrize(("waist", "left"), [(16, 4), (64, 8), (3, 3)])
def test_a_narrow_waist_keeps_a_few_channels(waist, left):
    dimensions = Dimensions()
    squeezed = dimensions.new(waist)
    sizes = solve(dimensions, {"wide": (dimensions.new(256),), "squeeze": (squeezed,)}, 1 / 8)
    assert sizes.of(squeezed) == left


@given(st.lists(st.integers(2, 300), min_size=1, max_size=4), st.floats(0.01, 1))
def test_sizes_are_at_least_one_and_at_most_the_targets(atoms, width):
    dimensions = Dimensions()
    dims = [dimensions.new(size) for size in atoms]
    whole = tuple(atom for dim in dims for atom in dim)
    try:
        sizes = solve(dimensions, {"weight": (whole,)}, width)
    except WidthTooSmall as error:
        sizes = solve(dimensions, {"weight": (whole,)}, error.smallest_width)
    assert all(1 <= sizes.of(dim) <= dimensions.size(dim) for dim in dims)
