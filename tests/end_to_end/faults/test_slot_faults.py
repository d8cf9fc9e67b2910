"""A slot's squeezer dies, or the slot itself goes away with its pipeline run."""

import psutil
import pytest

from hydro.client import DeviceKind, DeviceState

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def slots(suite):
    return [each for each in suite.client.list_devices() if each.kind is DeviceKind.SLOT]


def slot_steps(suite):
    return suite.study.statistics.slot_trial_steps


def test_a_squeezer_killed_with_its_slot_in_use_serves_it_again(slot_suite, wait, ended):
    slot_suite.start_study(trials=8, batch_seconds=0.0)
    slot_suite.wait_for_middle(measurements=2)
    squeezer = slot_suite.tree.service("hydro.squeezer")
    slot_suite.kill(squeezer)
    slot_suite.wait_for_restart("hydro.squeezer", squeezer)
    steps = slot_steps(slot_suite)
    wait(lambda: slot_steps(slot_suite) > steps, "trials train in the slot again")
    slot_suite.check_end()
    assert not slot_suite.pipeline.has_ended


def test_a_slot_that_vanishes_in_mid_bundle_gives_its_trials_back(slot_suite, join_device, wait, ended):
    slot_suite.start_study(trials=8, batch_seconds=0.0)
    slot_suite.wait_for_middle(measurements=2)
    workers = slot_suite.workers()
    (pipeline,) = [each for each in psutil.Process().children() if "hydro.squeezer.hooks.replay" in each.cmdline()]
    slot_suite.kill(pipeline)
    wait(lambda: all(each.state is DeviceState.GONE for each in slots(slot_suite)), "the slot is gone")
    wait(lambda: not slot_suite.leases(), "its lease ends")
    join_device(slot_suite)
    slot_suite.check_end()
    assert all(map(ended, workers))
