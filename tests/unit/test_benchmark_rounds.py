"""What the benchmarks share: turns, medians and intervals."""

from benchmarks.fusion.cells import is_settled
from benchmarks.fusion.summary import empty_summary, summarize
from benchmarks.rounds import Interval, interleave, interval, ratio


def test_variants_take_turns_and_every_other_round_goes_backwards():
    order = []
    variants = {name: lambda name=name: order.append(name) for name in "abc"}
    seconds = interleave(variants, 2)
    assert "".join(order) == "abccba"
    assert all(len(values) == 2 for values in seconds.values())


def test_a_variant_too_short_for_the_clock_is_timed_several_calls_at_once():
    ticks = iter(range(10))
    calls = []
    seconds = interleave({"a": lambda: calls.append(1)}, 2, repeats={"a": 4}, clock=lambda: next(ticks))
    assert seconds == {"a": [0.25, 0.25]}
    assert len(calls) == 8


def test_the_interval_of_a_hundred_values_leaves_out_the_outer_ones():
    figures = interval(range(1, 101))
    assert (figures.median, figures.low, figures.high) == (50.5, 40, 61)


def test_a_few_values_have_their_extremes_as_interval():
    assert (interval([3.0, 1.0, 2.0]).low, interval([3.0, 1.0, 2.0]).high) == (1.0, 3.0)


def test_a_slow_round_cancels_from_the_ratio():
    assert ratio([2.0, 200.0, 2.0], [1.0, 100.0, 1.0]).high == 2.0


def test_the_summary_takes_the_worst_row_and_leaves_null_what_no_row_tells():
    rows = [{"what": "optimizer", "fused_over_separate": {"median": value}} for value in (0.5, 0.9, 0.7)]
    assert summarize(rows) == {**empty_summary(), "optimizer_step_vs_separate": 0.9}


def test_a_cell_is_timed_until_its_interval_lies_on_one_side_of_nearly_best():
    assert is_settled(Interval(1.0, 0.96, 1.2)) and is_settled(Interval(0.9, 0.8, 0.94))
    assert not is_settled(Interval(0.93, 0.8, 1.1)) and not is_settled(Interval(0.97, 0.94, 1.0))
