from __future__ import annotations

from hydro.squeezer.segment import SegmentDurations


def test_known_segment_needs_its_longest_of_few_observations() -> None:
    durations = SegmentDurations()
    for each in (5, 9, 7):
        durations.add("forward", each)
    assert durations.needed_ns("forward", longest_bubble_ns=1000) == 9


def test_unknown_segment_needs_most_of_the_longest_bubble() -> None:
    assert SegmentDurations().needed_ns("forward", longest_bubble_ns=1000) == 750


def test_median_is_told_only_of_enough_observations() -> None:
    durations = SegmentDurations()
    for each in (1, 2, 3, 4):
        durations.add("forward", each)
    assert durations.typical_ns("forward") is None
    durations.add("forward", 5)
    assert durations.typical_ns("forward") == 3


def test_one_hiccup_does_not_bar_the_bubbles_for_good() -> None:
    durations = SegmentDurations()
    for each in [10] * 20 + [5000]:
        durations.add("forward", each)
    skipped = 0
    while durations.needed_ns("forward", longest_bubble_ns=100) > 100:
        durations.forgive("forward", longest_bubble_ns=100)
        skipped += 1
    assert skipped < 250


def test_a_hiccup_that_faded_does_not_come_back_with_the_next_observation() -> None:
    durations = SegmentDurations()
    for each in (10, 5000):
        durations.add("forward", each)
    while durations.needed_ns("forward", longest_bubble_ns=100) > 75:
        durations.forgive("forward", longest_bubble_ns=100)
    durations.add("forward", 10)
    assert durations.needed_ns("forward", longest_bubble_ns=100) <= 75


def test_segment_that_fits_the_longest_bubble_is_not_forgiven() -> None:
    durations = SegmentDurations()
    durations.add("forward", 50)
    durations.forgive("forward", longest_bubble_ns=100)
    assert durations.needed_ns("forward", longest_bubble_ns=100) == 50
