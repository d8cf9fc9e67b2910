"""Studies of commands on a real Postgres: planned without a tuner, and ended by what their programs say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hydro.coordinator.bell import Bell
from hydro.coordinator.command import Command
from hydro.coordinator.device import LOCAL, Device, DeviceKind, DeviceState
from hydro.coordinator.judgement import LaneReport
from hydro.coordinator.leasing import Leasing
from hydro.coordinator.names import DeviceName, StudyName
from hydro.coordinator.pruners import Pruners
from hydro.coordinator.pruning_rules import NoPruning
from hydro.coordinator.quotas import Quota, Quotas, ReportRates
from hydro.coordinator.recipe import trial_recipe
from hydro.coordinator.reconcile.patience import Patience
from hydro.coordinator.reconcile.plan import command_bundles, plan
from hydro.coordinator.reporting import Reporting, ReportMessage
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.storage.postgres_storage import PostgresStorage
from hydro.coordinator.storage.storage import NewTrial
from hydro.coordinator.study import Goal, Objective, Sampler, StudySpec, StudyState
from hydro.coordinator.trial import Measurement, TrialState, Verdict
from hydro.kit.clock import ManualClock
from hydro.kit.errors import ResourceExhausted

STUDY = StudyName("p", "s")
CPU = Device(DeviceName("devices/cpu"), DeviceKind.CPU, source=LOCAL)
SLOT = Device(DeviceName("devices/gpu/slots/one"), DeviceKind.SLOT, bubble_seconds=9.0, source="squeezer")
COMMAND = Command(("train", "--lr=${lr}"), {"A": "b"}, trials_per_device=2)
SPEC = StudySpec(
    None, SearchSpace((Parameter("lr", FloatDomain(0, 1)),)), Objective("loss", Goal.MINIMIZE), Sampler.RANDOM,
    NoPruning(), 0, 1.0, 3, 8, 0, command=COMMAND,
)  # fmt: skip


async def nobody(study):
    return 0


class Running:
    """A study of three trials, two of which run side by side."""

    def __init__(self, storage, leasing, reporting, grant, clock):
        self.storage, self.leasing, self.grant, self.clock = storage, leasing, grant, clock
        self.report = reporting.report

    async def tell(self, sequence, *reports):
        lease = self.grant.lease
        message = ReportMessage(lease.name, lease.fencing_token, sequence, reports, fusion_count=2)
        return await self.report(message)

    async def trial(self, number):
        return await self.storage.run(lambda tx: tx.trials.get(STUDY.trial(number)))


@pytest.fixture
async def running(database_url):
    storage = await PostgresStorage.open(database_url)
    pruners, clock = Pruners(), ManualClock()
    leasing = Leasing(storage, pruners, Bell(), clock, [], 60.0)

    async def add(tx):
        await tx.studies.insert(STUDY, SPEC, StudyState.SEARCHING)
        await tx.trials.insert(STUDY, [NewTrial({"lr": 0.5}, 7)] * 3)
        for device in (CPU, SLOT):
            await tx.devices.put(device)
            assert (await tx.devices.get(device.name)).state is DeviceState.READY

    await storage.run(add)
    await plan(storage, None, Bell(), Patience(clock, 0.0), lambda device: True)
    grant = await leasing.acquire(CPU.name, "worker", "", 0)
    rates = ReportRates(Quotas({"p": Quota(reports_per_second=4)}), clock)
    yield Running(storage, leasing, Reporting(storage, pruners, Bell(), 60.0, nobody, rates), grant, clock)
    await storage.close()


def measured(number, step, loss):
    return LaneReport(STUDY.trial(number), step, Measurement(step, {"loss": loss}), log=f"step {step}\n")


def finished(number, value=None):
    return LaneReport(STUDY.trial(number), 0, finished=True, value=value)


async def test_trials_share_an_exclusive_device_as_the_command_allows_and_no_slot(running):
    (bundle,) = await running.storage.run(lambda tx: tx.bundles.live())
    assert (bundle.device, bundle.plan.max_lanes) == (CPU.name, 2)
    recipe = running.grant.recipe
    assert (recipe.task, recipe.command, recipe.measured_steps) == (None, COMMAND, ())
    assert [lane.name.number for lane in recipe.lanes] == [0, 1]
    assert recipe.artifact_path.startswith("/commands/s-")


async def test_a_program_that_ends_succeeds_with_its_last_measured_objective(running):
    answer = await running.tell(1, measured(0, 1, 0.5), measured(1, 1, 0.25))
    assert [verdict for _, verdict in answer.verdicts] == [Verdict.CONTINUE] * 2
    answer = await running.tell(2, finished(0), finished(1, 0.125))
    assert [verdict for _, verdict in answer.verdicts] == [Verdict.STOP] * 2
    assert [trial.name.number for trial in answer.insertions] == [2]
    ends = [await running.trial(number) for number in (0, 1)]
    assert [(each.state, each.value) for each in ends] == [(TrialState.SUCCEEDED, 0.5), (TrialState.SUCCEEDED, 0.125)]
    assert (await running.storage.run(lambda tx: tx.studies.get(STUDY))).best_trial == STUDY.trial(1)
    again = await running.tell(2, finished(0), finished(1, 0.125))
    assert again.verdicts == answer.verdicts
    assert [trial.name for trial in again.insertions] == [trial.name for trial in answer.insertions]


async def test_a_trial_has_trained_its_share_of_the_devices_time_when_it_is_measured(running):
    for sequence, seconds in ((1, 6.0), (2, 4.0)):
        lease = running.grant.lease
        told = (measured(0, sequence, 0.5),)
        await running.report(ReportMessage(lease.name, lease.fencing_token, sequence, told, device_seconds=seconds))
    assert [each.elapsed_seconds for each in (await running.trial(0)).measurements] == [3.0, 5.0]


async def test_measurements_over_the_projects_quota_are_refused_and_stored_when_they_come_again(running):
    for sequence in (1, 2):
        await running.tell(sequence, measured(0, sequence, 0.5), measured(1, sequence, 0.5))
    with pytest.raises(ResourceExhausted) as caught:
        await running.tell(3, measured(0, 3, 0.25), measured(1, 3, 0.25))
    assert (caught.value.reason, caught.value.retry_seconds) == ("QUOTA_EXCEEDED", 0.5)
    assert (await running.trial(0)).steps == 2
    running.clock.advance(0.5)
    await running.tell(3, measured(0, 3, 0.25), measured(1, 3, 0.25))
    assert (await running.trial(1)).value == 0.25
    # What carries no measurement is no report.
    await running.tell(4, finished(0))
    assert (await running.trial(0)).state is TrialState.SUCCEEDED


async def test_a_program_that_ends_unmeasured_fails(running):
    await running.tell(1, finished(0))
    trial = await running.trial(0)
    assert trial.state is TrialState.FAILED
    assert "'loss' is not among the metrics" in trial.state_reason


async def test_a_program_that_finds_everything_measured_ends_its_trial_well(running):
    await running.tell(1, measured(0, 1, 0.5))
    ends = [replace(finished(number), failure="nothing was reported") for number in (0, 1)]
    await running.tell(2, *ends)
    first, second = [await running.trial(number) for number in (0, 1)]
    assert (first.state, first.value) == (TrialState.SUCCEEDED, 0.5)
    assert (second.state, second.state_reason) == (TrialState.FAILED, "nothing was reported")


async def test_a_second_run_changes_no_measurement_and_goes_on(running):
    await running.tell(1, measured(0, 1, 0.5))
    await running.leasing.expire({running.grant.lease: ""})
    assert (await running.trial(0)).state is TrialState.PENDING
    await plan(running.storage, None, Bell(), Patience(ManualClock(), 0.0), lambda device: True)
    running.grant = await running.leasing.acquire(CPU.name, "another", "", 0)
    again = await running.tell(1, measured(0, 1, 0.75))
    assert dict(again.verdicts)[STUDY.trial(0)] is Verdict.CONTINUE
    await running.tell(2, measured(0, 2, 0.25))
    trial = await running.trial(0)
    assert [(each.step, each.metrics["loss"]) for each in trial.measurements] == [(1, 0.5), (2, 0.25)]


async def test_one_trial_can_be_run_again_by_itself(running):
    recipe = await running.storage.run(lambda tx: trial_recipe(tx, STUDY.trial(2)))
    assert [(lane.name.number, lane.seed, lane.hyperparameters) for lane in recipe.lanes] == [(2, 7, {"lr": 0.5})]
    assert (recipe.max_lanes, recipe.command) == (1, COMMAND)


@pytest.mark.parametrize(("trials", "devices", "sizes"), [(3, 1, [2, 1]), (3, 4, [1, 1, 1]), (4, 2, [2, 2])])
async def test_trials_are_spread_before_they_share(trials, devices, sizes):
    class Study:
        name = STUDY

    bundles = command_bundles(Study, COMMAND, range(trials), devices)
    assert [len(each.trials) for each in bundles] == sizes
