from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.squeezer.bubble import ENOUGH_OBSERVATIONS, WARM_UP, Anchor, BubbleForecast, low_quantile

DURATIONS = st.lists(st.integers(0, 10**9), min_size=ENOUGH_OBSERVATIONS, max_size=64)
STEP_BEGIN = Anchor(None, 0)


def warm_forecast(*schedule_indices: int) -> BubbleForecast:
    """One that has seen as many bubbles as do not count."""
    forecast = BubbleForecast()
    for index in schedule_indices or (0,):
        for _ in range(WARM_UP):
            forecast.observe(index, 0, 1)
    return forecast


def test_bubble_is_unknown_until_it_was_seen_three_times() -> None:
    forecast = warm_forecast(2)
    seen = []
    for duration_ns in (50, 60, 70):
        seen.append(forecast.forecast_ns(2, 0))
        forecast.observe(2, 1000, 1000 + duration_ns)
    assert seen == [None, None, None]
    assert forecast.forecast_ns(2, 0) == 50


def test_bubbles_of_a_run_that_warms_up_do_not_count() -> None:
    forecast = BubbleForecast()
    for duration_ns in [3] * WARM_UP + [1000] * ENOUGH_OBSERVATIONS:
        forecast.observe(0, 0, duration_ns)
    assert forecast.forecast_ns(0, 0) == 1000


def test_each_schedule_index_has_its_own_history() -> None:
    forecast = warm_forecast(0, 5)
    for _ in range(3):
        forecast.observe(0, 0, 100)
        forecast.observe(5, 0, 900)
    assert [forecast.forecast_ns(index, 0) for index in (0, 5, 1)] == [100, 900, None]
    assert forecast.longest_ns() == 900
    assert list(forecast.longer_than(100)) == [0, 5]
    assert list(forecast.longer_than(101)) == [5]


@given(DURATIONS)
def test_few_of_the_past_bubbles_were_shorter_than_the_forecast(durations: list[int]) -> None:
    forecast = warm_forecast()
    for each in durations:
        forecast.observe(0, 0, each)
    predicted = forecast.forecast_ns(0, 0)
    assert predicted is not None
    assert sum(each < predicted for each in durations) <= 0.05 * len(durations)


@given(DURATIONS, DURATIONS)
def test_few_of_the_past_bubbles_ended_before_the_forecast_whatever_it_goes_by(
    begins: list[int], durations: list[int]
) -> None:
    forecast = warm_forecast()
    bubbles = list(zip(begins, durations, strict=False))
    for begin_ns, duration_ns in bubbles:
        forecast.observe(0, begin_ns, begin_ns + duration_ns, STEP_BEGIN)
    early = 0
    for begin_ns, duration_ns in bubbles:
        predicted = forecast.forecast_ns(0, begin_ns, STEP_BEGIN)
        assert predicted is not None
        # A forecast of nothing promises nothing.
        early += 0 < predicted > duration_ns
    assert early <= 0.05 * len(bubbles)


def test_bubble_that_a_slow_stage_comes_late_to_ends_when_it_always_ends() -> None:
    forecast, late = warm_forecast(), random.Random(0)
    # The peer's message comes 1000 after the bubble before has ended; the stage computes for 200 to 600 of it.
    for begin_ns in [late.randrange(200, 600) for _ in range(64)]:
        forecast.observe(0, begin_ns, 1000, STEP_BEGIN)
    assert forecast.forecast_ns(0, 250, STEP_BEGIN) == 750
    assert forecast.forecast_ns(0, 590, STEP_BEGIN) == 410
    assert forecast.forecast_ns(0, 1200, STEP_BEGIN) == 0
    # Without its anchor, as when an event was dropped, it is as long as the shortest ones.
    assert forecast.forecast_ns(0, 250) == pytest.approx(400, abs=50)
    assert forecast.forecast_ns(0, 250, Anchor(7, 0)) == pytest.approx(400, abs=50)
    assert forecast.longest_ns() == pytest.approx(600, abs=60)


def test_bubble_that_keeps_its_length_is_forecast_by_it() -> None:
    forecast, late = warm_forecast(), random.Random(0)
    for begin_ns in [late.randrange(200, 600) for _ in range(64)]:
        forecast.observe(0, begin_ns, begin_ns + 300, STEP_BEGIN)
    assert forecast.forecast_ns(0, 590, STEP_BEGIN) == 300
    assert forecast.longest_ns() == 300


def test_another_wait_before_a_bubble_is_another_anchor() -> None:
    forecast = warm_forecast()
    for begin_ns in (200, 300, 400, 500):
        forecast.observe(0, begin_ns, 1000, Anchor(4, 0))
    assert forecast.forecast_ns(0, 300, Anchor(4, 0)) == 700
    # The collective before it is left out: what was between is no longer known.
    forecast.observe(0, 300, 1000, Anchor(3, -5000))
    assert forecast.forecast_ns(0, 300, Anchor(3, 0)) == 500
    assert forecast.forecast_ns(0, 300, Anchor(4, 0)) == 500


def test_one_short_outlier_among_many_does_not_rule_the_forecast() -> None:
    forecast = warm_forecast()
    for duration_ns in [1, *[1000] * 60]:
        forecast.observe(0, 0, duration_ns)
    assert forecast.forecast_ns(0, 0) == 1000


def test_changed_schedule_forgets_everything() -> None:
    forecast = warm_forecast()
    for _ in range(10):
        forecast.observe(0, 0, 100)
    forecast.invalidate()
    assert forecast.forecast_ns(0, 0) is None
    assert forecast.longest_ns() == 0
    for _ in range(WARM_UP + ENOUGH_OBSERVATIONS - 1):
        forecast.observe(0, 0, 100)
    assert forecast.forecast_ns(0, 0) is None


def test_quantile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no value"):
        low_quantile([], 0.05)
