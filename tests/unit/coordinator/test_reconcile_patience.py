"""Waiting: of trials for a running bundle, of devices after a failure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from hydro.coordinator.names import StudyName
from hydro.coordinator.reconcile.backoff import LONGEST_SECONDS, Backoff
from hydro.coordinator.reconcile.patience import Patience
from hydro.coordinator.trial import Trial, TrialKind, TrialState
from hydro.kit.clock import ManualClock

TRIAL = Trial(
    StudyName("p", "s").trial(0), TrialKind.SEARCH, TrialState.PENDING, {}, 0, datetime(2026, 1, 1, tzinfo=UTC)
)


def test_patience_is_over_after_its_time():
    clock = ManualClock()
    patience = Patience(clock, 2.0)
    assert not patience.is_over(TRIAL)
    clock.advance(1.9)
    assert not patience.is_over(TRIAL)
    clock.advance(0.2)
    assert patience.is_over(TRIAL)


def test_a_trial_that_changed_waits_from_the_start():
    clock = ManualClock()
    patience = Patience(clock, 2.0)
    patience.is_over(TRIAL)
    clock.advance(3)
    assert not patience.is_over(replace(TRIAL, revision=9))


def test_no_patience_is_over_at_once():
    assert Patience(ManualClock(), 0.0).is_over(TRIAL)


def test_each_failure_on_a_device_doubles_its_pause_up_to_the_longest():
    clock = ManualClock()
    backoff = Backoff(clock)
    assert backoff.may_start("devices/a")
    for _ in range(30):
        backoff.fail("devices/a")
    assert not backoff.may_start("devices/a") and backoff.may_start("devices/b")
    clock.advance(LONGEST_SECONDS)
    assert backoff.may_start("devices/a")


def test_a_success_ends_the_pause():
    backoff = Backoff(ManualClock())
    backoff.fail("devices/a")
    backoff.succeed("devices/a")
    assert backoff.may_start("devices/a")
