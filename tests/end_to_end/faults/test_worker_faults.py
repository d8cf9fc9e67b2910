"""Workers die, or stand still past their lease."""

import json
import signal

import pytest

from end_to_end.history import promotions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def has_expired(broken_suite, token):
    return token in [each["fencing_token"] for each in broken_suite.leases("EXPIRED")]


def written_under(broken_suite, token):
    """What was ever written under a lease: its own row, its bundle's, and its artifacts."""
    lease = broken_suite.sql("SELECT * FROM lease WHERE fencing_token = $1", token)
    bundle = broken_suite.sql("SELECT * FROM bundle WHERE number = $1", lease[0]["bundle"])
    artifacts = (broken_suite.suite.data_directory / "artifacts").rglob(f"lease-{token}/*")
    return lease, bundle, {path: path.stat().st_mtime_ns for path in artifacts}


def says_lost(broken_suite, token):
    logs = (broken_suite.suite.data_directory / "logs" / "workers").glob("*.log")
    lines = [json.loads(line) for log in logs for line in log.read_text().splitlines() if line.startswith("{")]
    return any(line["event"] == "lease lost" and line["lease"] == f"leases/{token}" for line in lines)


def test_a_worker_killed_in_mid_bundle_loses_nothing_and_paused_trials_are_promoted(broken_suite, wait):
    broken_suite.start_study()
    broken_suite.wait_for_middle()
    token = broken_suite.leases()[0]["fencing_token"]
    for worker in broken_suite.workers():
        broken_suite.kill(worker)
    wait(lambda: has_expired(broken_suite, token), "the lease expires")
    courses = broken_suite.check_end().values()
    # Measured at the rungs 10, 20 and 40, having waited at one of the first two.
    assert any(promotions(each) and each[-1] == ("SUCCEEDED", 3) for each in courses)
    assert {each[-2][0] for each in courses if each[-1][0] == "PRUNED"} == {"PAUSED"}


def test_a_worker_stopped_past_its_lease_finds_it_lost_and_writes_nothing(broken_suite, wait):
    broken_suite.start_study()
    broken_suite.wait_for_middle()
    lease = broken_suite.leases()[0]
    token = lease["fencing_token"]
    (worker,) = [each for each in broken_suite.workers() if f"-{each.pid}-" in lease["worker"]]
    worker.send_signal(signal.SIGSTOP)
    wait(lambda: has_expired(broken_suite, token), "the lease expires")
    before = written_under(broken_suite, token)
    worker.send_signal(signal.SIGCONT)
    wait(lambda: says_lost(broken_suite, token), "the worker finds that its lease is lost")
    broken_suite.watcher.wait()
    assert written_under(broken_suite, token) == before
    broken_suite.check_end()
