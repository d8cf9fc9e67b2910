"""A process says of the trials that it drives that it lives."""

import os
import queue
import threading
import time

import pytest

from hydro.client.names import StudyName
from hydro.client.renewing import Renewals
from hydro.kit.errors import NotFound, Unavailable

STUDY = StudyName("default", "hand")
FIRST, SECOND = (STUDY.trial(0), 0), (STUDY.trial(1), 2)
SHORT = 0.03


class Coordinator:
    """Hears, and says which trials are lost."""

    def __init__(self):
        self.heard, self.lost, self.fault = queue.SimpleQueue(), set(), None

    def renew(self, study, runs):
        self.heard.put((study, sorted(runs, key=str)))
        if self.fault is not None:
            raise self.fault
        return self.lost


def ended(renewals):
    """Waits for the end of the thread: nothing is left to renew."""
    end = time.monotonic() + 20
    while renewals._thread is not None:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_trials_are_renewed_again_and_again_until_they_are_dropped():
    coordinator = Coordinator()
    renewals = Renewals(coordinator.renew)
    renewals.keep(FIRST, SHORT)
    renewals.keep(SECOND, SHORT)
    while coordinator.heard.get(timeout=20) != (STUDY, [FIRST, SECOND]):
        pass
    for _ in range(2):
        assert coordinator.heard.get(timeout=20) == (STUDY, [FIRST, SECOND])
    renewals.drop(SECOND)
    while coordinator.heard.get(timeout=20)[1] != [FIRST]:
        pass
    renewals.close()
    ended(renewals)


def test_a_trial_that_is_anothers_by_now_is_dropped():
    coordinator = Coordinator()
    coordinator.lost = {FIRST[0]}
    renewals = Renewals(coordinator.renew)
    renewals.keep(FIRST, SHORT)
    ended(renewals)
    assert coordinator.heard.qsize() == 1


def test_a_coordinator_that_does_not_answer_is_asked_again():
    coordinator = Coordinator()
    coordinator.fault = Unavailable("restarting")
    renewals = Renewals(coordinator.renew)
    renewals.keep(FIRST, SHORT)
    assert coordinator.heard.get(timeout=20) == coordinator.heard.get(timeout=20)
    coordinator.fault = NotFound("the study was deleted")
    ended(renewals)


def test_an_error_that_nobody_expected_does_not_end_the_renewals():
    coordinator = Coordinator()
    coordinator.fault = ValueError("Cannot invoke RPC on closed channel!")
    renewals = Renewals(coordinator.renew)
    renewals.keep(FIRST, SHORT)
    assert coordinator.heard.get(timeout=20) == coordinator.heard.get(timeout=20)
    renewals.close()


class Interruption(BaseException):
    """Ends a thread, as the end of an interpreter does."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_where_the_thread_has_ended_the_next_trial_has_another_one():
    coordinator = Coordinator()
    coordinator.fault = Interruption()
    renewals = Renewals(coordinator.renew)
    renewals.keep(FIRST, SHORT)
    first = renewals._thread
    first.join(20)
    assert not first.is_alive()
    coordinator.fault = None
    renewals.keep(SECOND, SHORT)
    while coordinator.heard.get(timeout=20) != (STUDY, [FIRST, SECOND]):
        pass
    renewals.close()


def test_closing_waits_for_the_renewal_that_is_under_way():
    began, may_end, ended_at = threading.Event(), threading.Event(), []

    def renew(study, runs):
        began.set()
        may_end.wait(20)
        ended_at.append(time.monotonic())
        return set()

    renewals = Renewals(renew)
    renewals.keep(FIRST, SHORT)
    assert began.wait(20)
    threading.Timer(0.05, may_end.set).start()
    renewals.close()
    assert len(ended_at) == 1 and renewals._thread is None


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_process_that_is_forked_off_renews_its_own_trials_alone():
    coordinator = Coordinator()
    renewals = Renewals(coordinator.renew)
    renewals.keep(FIRST, 1000)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            heard = Coordinator()
            renewals._renew = heard.renew
            renewals.keep(SECOND, SHORT)
            os.write(writer, repr(heard.heard.get(timeout=20)[1] == [SECOND]).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reader, 10) == b"True"
    os.close(reader)
    os.close(writer)
    assert renewals._due.keys() == {FIRST}
    renewals.close()
