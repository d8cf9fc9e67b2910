from __future__ import annotations

import random

from hydro.squeezer.guard import Guard, GuardSettings

STEP_NS = 100_000_000


def guard_with_baseline(jitter: float = 0.0) -> Guard:
    guard, noise = Guard(), random.Random(0)
    for _ in range(20):
        guard.blank_step(int(STEP_NS * (1 + noise.gauss(0, jitter))))
    return guard


def test_no_step_is_judged_before_there_is_a_baseline() -> None:
    guard = Guard()
    guard.squeezed_step(10 * STEP_NS, late_ns=STEP_NS)
    assert guard.guard_ns == GuardSettings().initial_ns
    assert not guard.breaker_is_open


def test_steps_as_fast_as_blank_ones_lower_the_guard_to_its_smallest() -> None:
    guard = guard_with_baseline()
    for _ in range(400):
        guard.squeezed_step(STEP_NS, late_ns=0)
    assert guard.guard_ns == GuardSettings().smallest_ns


def test_slower_steps_raise_the_guard() -> None:
    guard = guard_with_baseline()
    guard.squeezed_step(int(STEP_NS * 1.03), late_ns=0)
    assert guard.guard_ns > GuardSettings().initial_ns


def test_slower_steps_leave_the_guard_where_every_bubble_ended_well_after_its_deadline() -> None:
    guard = guard_with_baseline()
    guard.squeezed_step(int(STEP_NS * 1.03), late_ns=0, is_near=False)
    assert guard.guard_ns < GuardSettings().initial_ns
    while not guard.breaker_is_open:
        guard.squeezed_step(int(STEP_NS * 1.05), late_ns=0, is_near=False)


def test_a_run_that_has_become_slower_by_itself_is_soon_its_own_baseline() -> None:
    guard = guard_with_baseline()
    for _ in range(9):
        guard.blank_step(int(1.2 * STEP_NS))
    assert guard.baseline_ns == int(1.2 * STEP_NS)


def test_segment_that_outlasts_its_bubble_by_more_than_the_budget_raises_the_guard_at_once() -> None:
    guard = guard_with_baseline(jitter=0.05)
    guard.squeezed_step(STEP_NS, late_ns=int(0.02 * STEP_NS))
    assert guard.guard_ns > GuardSettings().initial_ns


def test_noise_of_blank_steps_is_not_taken_for_lag() -> None:
    guard, noise = guard_with_baseline(jitter=0.03), random.Random(1)
    for step in range(2000):
        step_ns = int(STEP_NS * (1 + noise.gauss(0, 0.03)))
        if guard.breaker_is_open or step % 20 == 0:
            guard.blank_step(step_ns)
        else:
            guard.squeezed_step(step_ns, late_ns=0)
    assert guard.breaker_trips <= 2
    assert guard.guard_ns < GuardSettings().largest_ns


def test_lag_that_goes_on_opens_the_breaker_for_some_steps() -> None:
    guard = guard_with_baseline()
    while not guard.breaker_is_open:
        guard.squeezed_step(int(STEP_NS * 1.05), late_ns=0)
    for _ in range(GuardSettings().breaker_steps):
        assert guard.breaker_is_open
        guard.blank_step(STEP_NS)
    assert not guard.breaker_is_open
    assert guard.breaker_trips == 1


def test_breaker_that_opens_again_stays_open_longer() -> None:
    guard = guard_with_baseline()
    lengths: list[int] = []
    for _ in range(6):
        while not guard.breaker_is_open:
            guard.squeezed_step(int(STEP_NS * 1.3), late_ns=0)
        closed = 0
        while guard.breaker_is_open:
            guard.blank_step(STEP_NS)
            closed += 1
        lengths.append(closed)
    assert lengths == [8, 16, 32, 64, 64, 64]


def test_changed_schedule_forgets_the_baseline() -> None:
    guard = guard_with_baseline()
    guard.invalidate()
    assert guard.baseline_ns is None


def test_share_of_the_bubbles_falls_with_each_breaker_and_comes_back() -> None:
    guard = guard_with_baseline()
    assert all(guard.lets_open() for _ in range(100))
    for share in (0.5, 0.25, 0.125, 0.125):
        while not guard.breaker_is_open:
            guard.squeezed_step(int(STEP_NS * 1.3), late_ns=0)
        while guard.breaker_is_open:
            guard.blank_step(STEP_NS)
        assert guard.share == share
        assert sum(guard.lets_open() for _ in range(800)) == 800 * share
    for _ in range(56):
        guard.squeezed_step(STEP_NS, late_ns=0)
    assert guard.share == 1.0
