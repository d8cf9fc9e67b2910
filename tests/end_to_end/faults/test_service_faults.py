"""Each part that the suite supervises dies at once and is started again; or all of them with their supervisor."""

import signal

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def kill_and_wait(broken_suite, name, how=signal.SIGKILL):
    process = broken_suite.tree.service(name)
    broken_suite.kill(process, how)
    broken_suite.wait_for_restart(name, process)


def test_a_coordinator_killed_in_mid_study_goes_on(broken_suite, wait, ended):
    broken_suite.start_study()
    broken_suite.wait_for_middle()
    workers = broken_suite.workers()
    kill_and_wait(broken_suite, "hydro.coordinator")
    # They were the dead coordinator's children: the next one starts its own.
    wait(lambda: all(map(ended, workers)), "its workers die with it")
    broken_suite.check_end()


def test_workers_of_a_coordinator_that_is_told_to_stop_checkpoint_and_release(broken_suite):
    broken_suite.start_study()
    broken_suite.wait_for_middle()
    tokens = {each["fencing_token"] for each in broken_suite.leases()}
    kill_and_wait(broken_suite, "hydro.coordinator", signal.SIGTERM)
    assert tokens <= {each["fencing_token"] for each in broken_suite.leases("RELEASED")}
    broken_suite.check_end()


def test_a_tuner_killed_while_it_prepares_and_again_while_it_searches_is_not_missed(broken_suite, wait, ended):
    broken_suite.start_study()
    builds = wait(lambda: broken_suite.tree.find("hydro.tuner.build"), "the build starts")
    kill_and_wait(broken_suite, "hydro.tuner")
    wait(lambda: all(map(ended, builds)), "its build dies with it")
    broken_suite.wait_for_middle()
    kill_and_wait(broken_suite, "hydro.tuner")
    broken_suite.check_end()


def test_postgres_stopped_at_once_and_then_killed_loses_nothing(broken_suite):
    broken_suite.start_study()
    broken_suite.wait_for_middle(measurements=4)
    kill_and_wait(broken_suite, "postgres", signal.SIGQUIT)
    broken_suite.wait_for_middle(measurements=16)
    kill_and_wait(broken_suite, "postgres", signal.SIGKILL)
    broken_suite.check_end()


def test_a_killed_supervisor_leaves_no_process_and_a_new_one_goes_on_with_the_study(broken_suite, wait):
    broken_suite.start_study()
    broken_suite.wait_for_middle()
    assert broken_suite.workers()
    broken_suite.suite.process.kill()
    broken_suite.suite.process.communicate()
    wait(lambda: not broken_suite.tree.left(), "all processes end with it")
    broken_suite.start_again()
    broken_suite.check_end()
