from __future__ import annotations

import random
from dataclasses import replace

from hydro.squeezer.controller import Controller, ControllerSettings, Grant, WorkerProgress
from hydro.squeezer.guard import GuardSettings

BUBBLE_NS = 20_000_000
COMPUTE_NS = 30_000_000


class Run:
    """A pipeline run of one bubble a step, of which a worker uses a part."""

    def __init__(self, settings: ControllerSettings | None = None) -> None:
        self.controller = Controller(settings)
        self.now_ns = 1_000_000_000
        self.progress = WorkerProgress()

    def step(self, *, claimed: bool = True, slower_ns: int = 0, longer_ns: int = 0) -> Grant | None:
        """A step that computes `slower_ns` more where a trial has worked; its bubble begins `longer_ns` earlier."""
        self.controller.step_begin(self.now_ns)
        self.now_ns += COMPUTE_NS - longer_ns
        grant = self.controller.bubble_begin(0, self.now_ns, claimed=claimed)
        if grant is not None:
            self.controller.opened()
            self.progress = WorkerProgress(self.progress.used_ns + 1_000_000, self.progress.late_ns)
        self.now_ns += BUBBLE_NS + longer_ns
        self.controller.bubble_end(0, self.now_ns)
        if grant is not None:
            self.now_ns += slower_ns
        self.controller.step_end(self.now_ns, self.progress)
        return grant


def observed() -> Run:
    run = Run()
    for _ in range(5):
        run.step(claimed=False)
    return run


def test_gate_stays_closed_until_the_bubble_is_known() -> None:
    run = Run()
    grants = [run.step() for _ in range(6)]
    assert grants[:5] == [None] * 5
    assert grants[5] is not None


def test_gate_stays_closed_while_nobody_claims_the_slot() -> None:
    run = observed()
    assert run.step(claimed=False) is None


def test_deadline_lies_before_the_forecast_end_by_the_guard() -> None:
    run = observed()
    begin_ns = run.now_ns + COMPUTE_NS
    guard_ns = run.controller.guard.guard_ns
    grant = run.step()
    assert grant == Grant(begin_ns + BUBBLE_NS - guard_ns, BUBBLE_NS - guard_ns)


def test_bubble_that_begins_late_gets_the_deadline_that_it_always_gets() -> None:
    run, early = Run(), random.Random(0)
    for _ in range(70):
        run.step(claimed=False, longer_ns=early.randrange(10_000_000))
    begin_ns, guard_ns = run.now_ns, run.controller.guard.guard_ns
    grant = run.step()
    assert grant is not None
    assert grant.deadline_ns == begin_ns + COMPUTE_NS + BUBBLE_NS - guard_ns


def test_one_step_in_twenty_stays_without_trials() -> None:
    run = observed()
    grants = [run.step() is not None for _ in range(100)]
    assert grants.count(False) == 5
    assert run.controller.totals.blank_steps == 5 + 5


def test_bubble_shorter_than_the_guard_is_never_opened() -> None:
    run = observed()
    run.controller.guard.guard_ns = BUBBLE_NS
    assert run.step() is None


def test_guard_widens_only_where_a_bubble_ended_near_its_deadline() -> None:
    far, near = observed(), observed()
    # A lag of 2 % in each step, over the budget, and below what opens the breaker in so few.
    for _ in range(3):
        far.step(slower_ns=1_000_000, longer_ns=5_000_000)
        near.step(slower_ns=1_000_000)
    assert far.controller.guard.breaker_trips == near.controller.guard.breaker_trips == 0
    assert far.controller.guard.guard_ns < GuardSettings().initial_ns < near.controller.guard.guard_ns


def test_bubbles_are_wanted_that_a_worker_may_get() -> None:
    run = Run()
    assert list(run.controller.wanted) == []
    for _ in range(5):
        run.step(claimed=False)
    assert list(run.controller.wanted) == [0]
    run.controller.guard.guard_ns = BUBBLE_NS
    assert list(run.controller.wanted) == []
    run.controller.guard.guard_ns = 0
    run.controller.invalidate()
    assert list(run.controller.wanted) == []


def test_nothing_is_wanted_while_the_breaker_is_open() -> None:
    run = observed()
    while not run.controller.guard.breaker_is_open:
        run.step(slower_ns=20_000_000)
    assert list(run.controller.wanted) == []


def test_run_that_is_slowed_gets_its_bubbles_back() -> None:
    run = observed()
    for _ in range(60):
        run.step(slower_ns=5_000_000)
    assert run.controller.guard.breaker_trips >= 1
    assert run.controller.totals.squeezed_steps < 20


def test_changed_schedule_closes_the_gate_until_it_is_known_again() -> None:
    run = observed()
    run.controller.invalidate()
    assert [run.step() is None for _ in range(6)] == [True] * 5 + [False]


def test_wait_whose_beginning_was_dropped_has_no_duration() -> None:
    controller = Controller()
    controller.bubble_end(3, 500)
    controller.bubble_begin(1, 600, claimed=False)
    controller.bubble_end(2, 700)
    assert controller.totals.bubbles == 0


def test_totals_tell_bubble_open_and_step_time() -> None:
    run = observed()
    guard_ns = run.controller.guard.guard_ns
    run.step()
    totals = run.controller.totals
    assert (totals.steps, totals.bubbles, totals.gates_opened) == (6, 6, 1)
    assert totals.bubble_ns == 6 * BUBBLE_NS
    assert totals.open_ns == BUBBLE_NS - guard_ns
    assert run.controller.duty_cycle == BUBBLE_NS / (BUBBLE_NS + COMPUTE_NS)


def test_clock_that_goes_backwards_leaves_no_trace() -> None:
    run = observed()
    totals, forecast_ns = replace(run.controller.totals), run.controller.forecast.forecast_ns(0, 0)
    for _ in range(10):
        run.controller.step_begin(run.now_ns)
        run.controller.bubble_begin(0, run.now_ns, claimed=False)
        run.controller.bubble_end(0, run.now_ns - 3_600_000_000_000)
        run.controller.step_end(run.now_ns - 3_600_000_000_000, run.progress)
    assert run.controller.totals == totals
    assert run.controller.forecast.forecast_ns(0, 0) == forecast_ns


def test_clock_that_jumps_ahead_does_not_lengthen_the_forecast() -> None:
    run = observed()
    forecast_ns = run.controller.forecast.forecast_ns(0, 0)
    run.controller.bubble_begin(0, run.now_ns, claimed=False)
    run.controller.bubble_end(0, run.now_ns + 3_600_000_000_000)
    assert run.controller.forecast.forecast_ns(0, 0) == forecast_ns
