from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from hydro.kit.errors import FailedPrecondition, Internal, ResourceExhausted, Unavailable
from hydro.tuner.training.execution import Execution
from hydro.worker.lease import LeaseKeeper, LeaseLost
from hydro.worker.recipe import Grant, Recipe

LIFE = 10.0
LOST = FailedPrecondition("leases/1 has expired", reason="LEASE_LOST")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Renewals:
    """A coordinator that answers renewals with what it is told to."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.calls = 0
        self.called = threading.Event()

    def renew(self, grant: Grant) -> bool:
        self.calls += 1
        self.called.set()
        answer = self.answers.pop(0) if self.answers else False
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hydro.worker.lease._RETRY_SECONDS", 0.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def renewals() -> Renewals:
    return Renewals()


def _grant(duration_seconds: float = LIFE) -> Grant:
    recipe = Recipe("m:C", "", "", 1.0, None, Execution.SEPARATE, 1, (), 0, (1,), "validation_loss", "/a", 0.0)
    return Grant("leases/1", 1, duration_seconds, recipe, "")


@pytest.fixture
def keeper(renewals: Renewals, clock: Clock) -> LeaseKeeper:
    return LeaseKeeper(renewals, _grant(), clock)  # type: ignore[arg-type]


def test_a_lease_within_its_life_is_not_asked_for(keeper: LeaseKeeper, renewals: Renewals, clock: Clock) -> None:
    clock.now += LIFE
    keeper.ensure()
    assert renewals.calls == 0


def test_a_process_that_slept_past_its_lease_asks_before_it_goes_on(
    keeper: LeaseKeeper, renewals: Renewals, clock: Clock
) -> None:
    clock.now += 5 * LIFE
    keeper.ensure()
    assert renewals.calls == 1
    clock.now += 5 * LIFE
    renewals.answers = [LOST]
    with pytest.raises(LeaseLost):
        keeper.ensure()
    # It stays lost, whatever the coordinator would say now.
    with pytest.raises(LeaseLost):
        keeper.ensure()
    assert renewals.calls == 2


def test_calls_are_repeated_while_the_coordinator_is_away(keeper: LeaseKeeper, clock: Clock) -> None:
    answers: list[Any] = [Unavailable("restarts"), Internal("no database"), "stored"]

    def call() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    assert keeper.insist(call) == "stored"


def test_a_report_over_a_quota_is_sent_again_and_a_message_that_is_too_large_is_not(keeper: LeaseKeeper) -> None:
    answers: list[Any] = [ResourceExhausted("reports_per_second is 2", retry_seconds=0.001), "stored"]

    def call() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    assert keeper.insist(call) == "stored"
    answers.append(ResourceExhausted("the message is too large"))
    with pytest.raises(ResourceExhausted):
        keeper.insist(call)


def test_a_coordinator_that_stays_away_for_two_lives_loses_the_lease(keeper: LeaseKeeper, clock: Clock) -> None:
    def call() -> None:
        clock.now += LIFE
        raise Unavailable("gone")

    with pytest.raises(LeaseLost):
        keeper.insist(call)
    assert clock.now == 100.0 + 3 * LIFE


def test_a_fault_of_the_coordinator_is_not_repeated_for_ever(keeper: LeaseKeeper) -> None:
    calls = []

    def call() -> None:
        calls.append(1)
        raise Internal("a fault")

    with pytest.raises(Internal):
        keeper.insist(call)
    assert len(calls) == 6


def test_a_lease_is_renewed_in_the_background_and_hears_of_a_release_request(renewals: Renewals) -> None:
    renewals.answers = [True]
    with LeaseKeeper(renewals, _grant(duration_seconds=0.03)) as keeper:  # type: ignore[arg-type]
        assert renewals.called.wait(10)
        for _ in range(1000):
            if keeper.release_requested:
                break
            time.sleep(0.001)
        assert keeper.release_requested
