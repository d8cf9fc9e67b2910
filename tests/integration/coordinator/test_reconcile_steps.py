"""Steps of the reconcile loop on a real Postgres, with an executor and squeezers that are told what to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial

import pytest

from hydro.coordinator.bell import Bell
from hydro.coordinator.bundle import PlannedBundle
from hydro.coordinator.device import REGISTERED, Device, DeviceKind, DeviceState
from hydro.coordinator.executor.executor import WorkerExit
from hydro.coordinator.leasing import Leasing
from hydro.coordinator.names import DeviceName
from hydro.coordinator.pruners import Pruners
from hydro.coordinator.reconcile.backoff import Backoff
from hydro.coordinator.reconcile.execute import execute
from hydro.coordinator.reconcile.expire import Expiry, dissolve
from hydro.coordinator.reconcile.finish import finish
from hydro.coordinator.reconcile.patience import Patience
from hydro.coordinator.reconcile.plan import plan, plannable
from hydro.coordinator.reconcile.reclaim import IDLE_SECONDS, Reclaiming
from hydro.coordinator.reconcile.slots import follow_slots
from hydro.coordinator.reconcile.warm import WARM_WORKERS, Warming
from hydro.coordinator.storage.postgres_storage import PostgresStorage
from hydro.coordinator.storage.storage import Transaction
from hydro.coordinator.storage.trial_values import Measured, NewTrial
from hydro.coordinator.study import (
    StudyState,
)
from hydro.coordinator.trial import FAIL_TRIAL, PAUSE_TRIAL, START_TRIAL, Measurement, TrialKind, TrialState, Verdict
from hydro.kit.clock import ManualClock
from hydro.kit.errors import NotFound, Unavailable

from .stored_study import CPU, SLOT, SPEC, STUDY, add_study, allocate, states


class FakeExecutor:
    def __init__(self) -> None:
        self.workers: dict[str, str] = {}
        self.exits: list[WorkerExit] = []

    async def start(self, place):
        name = f"worker-{len(self.workers)}"
        self.workers[name] = place.device
        return name

    async def stop(self, worker):
        self.end(worker, 0)

    async def poll(self):
        ended, self.exits = self.exits, []
        return ended

    def running(self):
        return dict(self.workers)

    async def close(self):
        pass

    def end(self, worker: str, exit_code: int) -> None:
        self.exits.append(WorkerExit(worker, self.workers.pop(worker), exit_code, "its last words"))


class FakeSqueezer:
    source = "squeezer"

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Sequence[Device] | None] = asyncio.Queue()
        self.claims: dict[DeviceName, int] = {}
        self.is_gone = False

    async def slots(self) -> AsyncIterator[Sequence[Device]]:
        while (slots := await self.answers.get()) is not None:
            yield slots
        raise Unavailable("the squeezer was killed")

    async def claim(self, slot, lease):
        if self.is_gone:
            raise NotFound(f"{slot} has gone")
        self.claims[slot] = lease.fencing_token
        return "gate-page"

    async def release(self, slot, lease):
        if self.claims.get(slot) == lease.fencing_token:
            del self.claims[slot]


class OneBundlePerTrial:
    async def plan_bundles(self, surrogate, study, trials, devices, misses):
        return [
            PlannedBundle(study.name, TrialKind.SEARCH, (trial.name.number,), max_lanes=4, segment_seconds=0.01)
            for trial in trials
        ]


@pytest.fixture
async def storage(database_url):
    storage = await PostgresStorage.open(database_url)
    yield storage
    await storage.close()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def squeezer():
    return FakeSqueezer()


@pytest.fixture
def leasing(storage, clock, squeezer):
    return Leasing(storage, Pruners(), Bell(), clock, [squeezer], 60.0)


async def test_a_device_with_a_bundle_gets_one_worker(storage, leasing, clock):
    await storage.run(add_study)
    await storage.run(lambda tx: allocate(tx, CPU, 0))
    executor = FakeExecutor()
    for _ in range(3):
        await execute(storage, executor, leasing, Backoff(clock))
    assert list(executor.workers.values()) == ["devices/cpu"]


async def test_a_registered_device_brings_its_own_worker(storage, leasing, clock):
    await storage.run(add_study)
    await storage.run(lambda tx: allocate(tx, replace(CPU, source=REGISTERED), 0))
    executor = FakeExecutor()
    await execute(storage, executor, leasing, Backoff(clock))
    assert executor.workers == {}


async def add_preparing(tx: Transaction) -> None:
    await tx.studies.insert(STUDY, replace(SPEC, parallelism=64), StudyState.PREPARING)


async def test_a_study_in_preparation_gets_workers_once(storage, clock):
    await storage.run(add_preparing)
    await storage.run(lambda tx: put(tx, CPU))
    executor = FakeExecutor()
    warming = Warming(storage, executor, Backoff(clock))
    await warming.warm()
    assert list(executor.workers.values()) == ["devices/cpu"]
    executor.end("worker-0", 0)
    await warming.warm()
    assert executor.workers == {}


async def test_no_more_workers_are_started_ahead_than_may_wait(storage, clock):
    await storage.run(add_preparing)
    for core in range(WARM_WORKERS + 2):
        await storage.run(partial(put, device=replace(CPU, name=DeviceName(f"devices/cpu-{core}"))))
    executor = FakeExecutor()
    await Warming(storage, executor, Backoff(clock)).warm()
    assert len(executor.workers) == WARM_WORKERS


async def test_workers_are_started_ahead_on_idle_devices_of_this_machine_alone(storage, clock):
    await storage.run(add_preparing)
    for device in (SLOT, replace(CPU, source=REGISTERED)):
        await storage.run(partial(put, device=device))
    executor = FakeExecutor()
    await Warming(storage, executor, Backoff(clock)).warm()
    assert executor.workers == {}


async def test_the_lease_of_a_dead_worker_ends_at_once_and_another_worker_starts(storage, leasing, clock):
    await storage.run(add_study)
    await storage.run(lambda tx: allocate(tx, CPU, 0, 1))
    executor, backoff = FakeExecutor(), Backoff(clock)
    await execute(storage, executor, leasing, backoff)
    assert await leasing.acquire(CPU.name, "w", "", 0) is not None
    executor.end("worker-0", -9)
    await execute(storage, executor, leasing, backoff)
    assert await states(storage) == [TrialState.PENDING] * 3
    await storage.run(lambda tx: allocate(tx, CPU, 0, 1))
    await execute(storage, executor, leasing, backoff)
    assert executor.workers == {}
    clock.advance(1.0)
    await execute(storage, executor, leasing, backoff)
    assert len(executor.workers) == 1


async def test_an_overdue_lease_expires(storage, squeezer, clock):
    leasing = Leasing(storage, Pruners(), Bell(), clock, [squeezer], lease_seconds=-1.0)
    await storage.run(add_study)
    await storage.run(lambda tx: allocate(tx, CPU, 0))
    await leasing.acquire(CPU.name, "w", "", 0)
    await Expiry(storage, leasing, clock).expire()
    assert await states(storage) == [TrialState.PENDING] * 3
    assert await storage.run(lambda tx: tx.leases.active()) == []


async def test_a_bundle_that_no_worker_takes_is_dissolved_sooner_on_a_registered_device(storage):
    await storage.run(add_study)
    await storage.run(lambda tx: allocate(tx, CPU, 0))
    other = Device(DeviceName("devices/other"), DeviceKind.CPU, source=REGISTERED)
    await storage.run(lambda tx: allocate(tx, other, 1))
    await dissolve(storage, Bell(), -1.0, 60.0)
    (left,) = await storage.run(lambda tx: tx.bundles.live())
    assert left.device == CPU.name
    await dissolve(storage, Bell(), -1.0, -1.0)
    assert await storage.run(lambda tx: tx.bundles.live()) == []


async def test_a_slot_is_claimed_with_its_lease_and_released_with_it(storage, leasing, squeezer):
    await storage.run(add_study)
    await storage.run(lambda tx: allocate(tx, SLOT, 0))
    grant = await leasing.acquire(SLOT.name, "w", "", 0)
    assert grant.gate == "gate-page"
    assert squeezer.claims == {SLOT.name: grant.lease.fencing_token}
    await leasing.release(grant.lease.name, grant.lease.fencing_token)
    assert squeezer.claims == {}


async def test_a_slot_that_goes_before_it_is_claimed_gives_its_trials_back(storage, leasing, squeezer):
    await storage.run(add_study)
    await storage.run(lambda tx: allocate(tx, SLOT, 0))
    squeezer.is_gone = True
    assert await leasing.acquire(SLOT.name, "w", "", 0) is None
    assert await states(storage) == [TrialState.PENDING] * 3
    assert (await storage.run(lambda tx: tx.devices.get(SLOT.name))).state is DeviceState.GONE


async def test_slots_come_and_go_with_their_squeezer(storage, leasing, squeezer, clock):
    async def state_is(state):
        async with asyncio.timeout(20):
            while True:
                devices = await storage.run(lambda tx: tx.devices.all())
                if [device.state for device in devices] == [state]:
                    return devices[0]
                await asyncio.sleep(0.01)

    task = asyncio.create_task(follow_slots(storage, squeezer, Bell(), clock))
    await squeezer.answers.put([SLOT])
    await state_is(DeviceState.READY)
    await squeezer.answers.put([])
    await state_is(DeviceState.GONE)
    await squeezer.answers.put([replace(SLOT, bubble_seconds=0.2)])
    assert (await state_is(DeviceState.READY)).bubble_seconds == 0.2
    await squeezer.answers.put(None)
    await state_is(DeviceState.GONE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_exclusive_devices_are_filled_before_slots(storage, clock):
    await storage.run(partial(add_study, trials=1))
    for device in (SLOT, CPU):
        await storage.run(partial(put, device=device))
    await plan(storage, OneBundlePerTrial(), Bell(), Patience(clock, 1.0), lambda device: True)
    (bundle,) = await storage.run(lambda tx: tx.bundles.live())
    assert bundle.device == CPU.name


async def test_a_bundle_leaves_its_slot_when_an_exclusive_device_stays_idle(storage, leasing, clock):
    await storage.run(partial(add_study, trials=1))
    await storage.run(lambda tx: allocate(tx, SLOT, 0))
    grant = await leasing.acquire(SLOT.name, "worker", "request", 0.0)
    await storage.run(partial(put, device=CPU))
    reclaiming = Reclaiming(storage, leasing, clock, lambda device: True)
    await reclaiming.step()
    clock.advance(IDLE_SECONDS - 1)
    await reclaiming.step()
    assert not (await leasing.renew(grant.lease.name, grant.lease.fencing_token)).release_requested
    clock.advance(1.0)
    await reclaiming.step()
    assert (await leasing.renew(grant.lease.name, grant.lease.fencing_token)).release_requested
    await leasing.release(grant.lease.name, grant.lease.fencing_token)
    assert await states(storage) == [TrialState.PENDING]
    await plan(storage, OneBundlePerTrial(), Bell(), Patience(clock, 0.0), lambda device: True)
    (bundle,) = await storage.run(lambda tx: tx.bundles.live())
    assert bundle.device == CPU.name


async def test_no_bundle_is_planned_where_no_worker_can_take_it(storage, clock):
    await storage.run(add_study)
    await storage.run(partial(put, device=CPU))
    await plan(storage, OneBundlePerTrial(), Bell(), Patience(clock, 1.0), lambda device: False)
    assert await storage.run(lambda tx: tx.bundles.live()) == []


async def test_a_target_runs_on_exclusive_devices_alone(storage, clock):
    await storage.run(partial(add_study, trials=0))
    await storage.run(lambda tx: tx.trials.insert(STUDY, [NewTrial({}, 0, TrialKind.TARGET)]))
    await storage.run(partial(put, device=SLOT))
    await plan(storage, OneBundlePerTrial(), Bell(), Patience(clock, 1.0), lambda device: True)
    assert await storage.run(lambda tx: tx.bundles.live()) == []
    await storage.run(partial(put, device=CPU))
    await plan(storage, OneBundlePerTrial(), Bell(), Patience(clock, 1.0), lambda device: True)
    (bundle,) = await storage.run(lambda tx: tx.bundles.live())
    assert (bundle.device, bundle.plan.kind, bundle.plan.max_lanes) == (CPU.name, TrialKind.TARGET, 1)


async def test_a_trial_waits_for_a_lane_in_a_running_bundle_as_long_as_its_patience(storage, leasing, clock):
    await storage.run(add_study)
    await storage.run(lambda tx: allocate(tx, CPU, 0))
    await leasing.acquire(CPU.name, "w", "", 0)
    patience = Patience(clock, 2.0)

    async def planned(tx):
        study, surrogate = await tx.studies.get(STUDY), await tx.surrogates.of_study(STUDY)
        return [trial.name.number for trial in await plannable(tx, study, surrogate.fits, patience)]

    assert await storage.run(planned) == []
    clock.advance(3.0)
    assert await storage.run(planned) == [1, 2]


async def measured_and(tx, step, number, value):
    measured = Measured(number, Measurement(1, {"loss": value}), value, Verdict.PAUSE)
    await tx.trials.measure(STUDY, [measured])
    await tx.trials.move(STUDY, [number], step)


async def put(tx, device):
    await tx.devices.put(device)


async def test_a_study_too_small_for_its_rungs_trains_its_best_trial_to_the_end(storage):
    await storage.run(add_study)
    await storage.run(lambda tx: tx.trials.move(STUDY, [0, 1, 2], START_TRIAL))
    for number, value in enumerate((0.5, 0.25, 0.75)):
        await storage.run(partial(measured_and, step=PAUSE_TRIAL, number=number, value=value))
    await finish(storage, Pruners(), Bell())
    assert await states(storage) == [TrialState.PAUSED, TrialState.PENDING, TrialState.PAUSED]
    assert (await storage.run(lambda tx: tx.studies.get(STUDY))).state is StudyState.SEARCHING


async def test_a_study_whose_trials_all_failed_has_failed_with_the_first_reason(storage):
    await storage.run(add_study)
    for number in range(3):
        await storage.run(partial(fail, number=number))
    await finish(storage, Pruners(), Bell())
    study = await storage.run(lambda tx: tx.studies.get(STUDY))
    assert study.state is StudyState.FAILED and "reason 0" in study.state_reason


async def fail(tx, number):
    await tx.trials.move(STUDY, [number], FAIL_TRIAL, f"reason {number}")


async def test_a_study_with_trials_to_come_goes_on(storage):
    await storage.run(partial(add_study, trials=2))
    for number in range(2):
        await storage.run(partial(fail, number=number))
    await finish(storage, Pruners(), Bell())
    assert (await storage.run(lambda tx: tx.studies.get(STUDY))).state is StudyState.SEARCHING
