"""A loop of one's own that is killed with its trial open, on a coordinator that is killed too."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from hydro.client import Client, TrialState, minimize, uniform
from hydro.client.command.main import build
from hydro.kit.errors import FailedPrecondition

TIMEOUT = 4.0
"""Of renewals three come in it, so that a machine that is slow loses no caller that lives."""

LOOP = """
import sys, time
from hydro.client import Client

def objective(trial):
    trial.report(1, 0.5)
    # Longer than the study waits for a word of its caller: the process says by itself that it lives.
    time.sleep(6)
    trial.report(2, 0.25)
    print("lives", flush=True)
    time.sleep(1000)

Client(sys.argv[1]).get_study("abandoned").optimize(objective)
"""


def kept_alive_then_killed(address):
    command = [sys.executable, "-c", LOOP, address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "lives\n"
        finally:
            process.kill()


@pytest.fixture
def client(coordinator):
    with Client(coordinator.address) as client:
        yield client


def create(client, **options):
    space = {"lr": uniform(0, 1)}
    options = {"trials": 2, "parallelism": 1, "trial_timeout_seconds": TIMEOUT} | options
    return client.create_study("abandoned", search_space=space, objective=minimize("loss"), sampler="random", **options)


def hydro(*arguments):
    """What the command prints."""
    result = CliRunner().invoke(build(arguments), arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


async def test_a_killed_callers_trial_is_given_to_the_next_one_though_the_coordinator_was_killed_too(
    coordinator, client
):
    study = await asyncio.to_thread(create, client)
    await asyncio.to_thread(kept_alive_then_killed, coordinator.address)
    before = study.trials[0]
    coordinator.kill()
    await coordinator.start()
    given = []

    def objective(trial):
        given.append((trial.number, dict(trial.hyperparameters), trial.run[1]))
        # Another value than the lost run measured: the first one stands.
        trial.report(1, 0.75)
        return 0.1

    await asyncio.to_thread(study.optimize, objective)
    last = await asyncio.to_thread(study.wait, timeout_seconds=30)
    assert last.statistics.trials_by_state == {"SUCCEEDED": 2}
    assert given[0] == (0, before.hyperparameters, 1) and given[1][::2] == (1, 0)
    again = study.trials[0]
    assert [(each.step, each.metrics["loss"]) for each in again.measurements] == [(1, 0.5), (2, 0.25)]
    assert [each.reason for each in again.retries] == ["its caller was lost: nothing was heard of it for 4 s"]
    shown = await asyncio.to_thread(hydro, "trial", "show", "abandoned", "0", "--address", coordinator.address)
    assert f"run again from step 0, of 1 in its bundle: {again.retries[0].reason}" in shown.splitlines()
    # The caller that was lost comes back.
    with pytest.raises(FailedPrecondition) as caught:
        before.tell(0.0)
    assert caught.value.reason == "LEASE_LOST" and study.trials[0].value == 0.1


async def test_without_retries_a_lost_callers_trial_fails_with_the_reason_and_the_study_ends(client):
    study = await asyncio.to_thread(create, client, trials=1, retries=0, trial_timeout_seconds=1.0)
    snapshot = (await asyncio.to_thread(client._coordinator.suggest_trials, study.name, 1))[0]
    with pytest.raises(FailedPrecondition, match="every trial failed"):
        await asyncio.to_thread(study.wait, timeout_seconds=30)
    (trial,) = study.trials
    assert trial.name == snapshot.name and trial.state is TrialState.FAILED
    assert trial.state_reason.startswith("its caller was lost") and "max_retries is 0" in trial.state_reason
