from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hydro.squeezer.bubble import ENOUGH_OBSERVATIONS, BubbleForecast, low_quantile

DURATIONS = st.lists(st.integers(0, 10**9), min_size=ENOUGH_OBSERVATIONS, max_size=64)


def test_bubble_is_unknown_until_it_was_seen_three_times() -> None:
    forecast = BubbleForecast()
    seen = []
    for duration_ns in (50, 60, 70):
        seen.append(forecast.forecast_ns(2))
        forecast.observe(2, duration_ns)
    assert seen == [None, None, None]
    assert forecast.forecast_ns(2) == 50


def test_each_schedule_index_has_its_own_history() -> None:
    forecast = BubbleForecast()
    for _ in range(3):
        forecast.observe(0, 100)
        forecast.observe(5, 900)
    assert (forecast.forecast_ns(0), forecast.forecast_ns(5), forecast.forecast_ns(1)) == (100, 900, None)
    assert forecast.longest_ns() == 900


@given(DURATIONS)
def test_few_of_the_past_bubbles_were_shorter_than_the_forecast(durations: list[int]) -> None:
    forecast = BubbleForecast(quantile=0.05, window=64)
    for each in durations:
        forecast.observe(0, each)
    predicted = forecast.forecast_ns(0)
    assert predicted is not None
    assert sum(each < predicted for each in durations) <= 0.05 * len(durations)


def test_one_short_outlier_among_many_does_not_rule_the_forecast() -> None:
    forecast = BubbleForecast()
    for duration_ns in [1, *[1000] * 60]:
        forecast.observe(0, duration_ns)
    assert forecast.forecast_ns(0) == 1000


def test_changed_schedule_forgets_everything() -> None:
    forecast = BubbleForecast()
    for _ in range(10):
        forecast.observe(0, 100)
    forecast.invalidate()
    assert forecast.forecast_ns(0) is None
    assert forecast.longest_ns() == 0


def test_quantile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no value"):
        low_quantile([], 0.05)
