"""Which failed calls are sent again, and when."""

import pytest

from hydro.kit import call_retries
from hydro.kit.call_retries import CallRetries
from hydro.kit.errors import Cancelled, InvalidArgument, ResourceExhausted, Unavailable


@pytest.fixture
def now(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(call_retries.time, "monotonic", lambda: clock[0])
    return clock


def pauses(attempts, error, now):
    found = []
    while (pause := attempts.pause_seconds(error)) is not None:
        found.append(pause)
        now[0] += pause
    return found


def test_a_service_that_answered_before_is_waited_for_with_growing_pauses_until_the_time_is_over(now):
    retries = CallRetries(25, has_answered=True)
    found = pauses(retries.began(30), Unavailable("restarting"), now)
    assert 23 <= sum(found) < 25
    for number, pause in enumerate(found):
        assert 0.5 <= pause / min(2, 0.1 * 2**number) <= 1


def test_an_address_that_never_answered_is_given_up_soon(now):
    assert sum(pauses(CallRetries(25).began(30), Unavailable("refused"), now)) < 2


def test_the_call_s_deadline_is_the_last_word(now):
    retries = CallRetries(25, has_answered=True)
    attempts = retries.began(1)
    assert sum(pauses(attempts, Unavailable("restarting"), now)) < 1
    assert attempts.left_seconds > 0


def test_a_call_that_a_stopping_service_cut_off_is_sent_again(now):
    assert 0.05 <= CallRetries(25).began(30).pause_seconds(Cancelled("CANCELLED")) <= 0.1


def test_who_is_told_when_to_come_again_waits_so_long(now):
    attempts = CallRetries(25).began(30)
    assert 0.2 <= attempts.pause_seconds(ResourceExhausted("too many", retry_seconds=0.2)) <= 0.3
    assert attempts.pause_seconds(ResourceExhausted("too many studies", retry_seconds=60)) is None


@pytest.mark.parametrize("error", [ResourceExhausted("message larger than max"), InvalidArgument("no")])
def test_what_never_becomes_better_is_not_sent_again(now, error):
    retries = CallRetries(25)
    assert retries.began(30).pause_seconds(error) is None
    assert retries.has_answered
