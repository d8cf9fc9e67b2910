"""The laws of the storage port on devices, bundles and leases, on a real Postgres."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from hydro.coordinator.bundle import Execution, MemoryMiss, PlannedBundle
from hydro.coordinator.device import DRAIN_DEVICE, LOSE_DEVICE, Device, DeviceKind, DeviceState
from hydro.coordinator.lease import EXPIRE_LEASE, RELEASE_LEASE, LeaseState
from hydro.coordinator.names import DeviceName
from hydro.coordinator.storage.storage import Transaction
from hydro.coordinator.storage.trial_values import Progress
from hydro.coordinator.trial import PAUSE_TRIAL, Artifact, TrialKind, TrialState
from hydro.kit.errors import FailedPrecondition

from .stored_lease import DEVICE, STUDY, add_lease, add_study, states


async def test_a_lease_starts_its_bundle_and_its_trials(storage):
    bundle, lease = await storage.run(add_lease)
    assert await storage.run(states) == [TrialState.RUNNING] * 2
    assert lease.bundle == bundle.number and lease.state is LeaseState.ACTIVE
    device = await storage.run(lambda tx: tx.devices.get(DEVICE))
    assert (device.lease, device.bundle) == (lease.name, bundle.number)


async def test_a_bundle_is_read_as_it_was_planned(storage):
    plan = PlannedBundle(STUDY, TrialKind.SEARCH, (0,), Execution.COMPILED, 8, 4, 2**33, 0.5, {"layers": 2}, 3)

    async def write(tx: Transaction):
        await add_study(tx, trials=1)
        await tx.devices.put(Device(DEVICE, DeviceKind.CPU))
        return await tx.bundles.insert(plan, DEVICE)

    written = await storage.run(write)
    read = await storage.run(lambda tx: tx.bundles.get(written.number))
    assert written.plan == plan and read.plan == replace(plan, trials=())


async def test_of_each_count_that_missed_its_memory_the_most_that_was_held_is_kept(storage):
    other = DeviceName("devices/cpu-1")

    async def write(tx: Transaction):
        await add_study(tx)
        await tx.surrogates.note_misses(STUDY, DEVICE, [MemoryMiss(8, 300, refused=True)])
        await tx.surrogates.note_misses(
            STUDY, DEVICE, [MemoryMiss(8, 200, refused=True), MemoryMiss(8, 250, refused=False)]
        )
        await tx.surrogates.note_misses(STUDY, other, [MemoryMiss(4, 2**40, refused=False)])
        await tx.surrogates.note_misses(STUDY, other, [MemoryMiss(4, 2**41, refused=False)])

    await storage.run(write)
    found = await storage.run(lambda tx: tx.surrogates.misses(STUDY))
    assert {name: set(misses) for name, misses in found.items()} == {
        DEVICE: {MemoryMiss(8, 300, refused=True), MemoryMiss(8, 250, refused=False)},
        other: {MemoryMiss(4, 2**41, refused=False)},
    }
    await storage.run(lambda tx: tx.studies.delete(STUDY))
    assert await storage.run(lambda tx: tx.surrogates.misses(STUDY)) == {}


async def test_a_device_has_one_bundle_at_a_time(storage):
    async def work(tx):
        await add_study(tx, 2)
        await tx.devices.put(Device(DEVICE, DeviceKind.CPU))
        plans = [PlannedBundle(STUDY, TrialKind.SEARCH, (number,)) for number in (0, 1)]
        return [await tx.bundles.insert(plan, DEVICE) for plan in plans]

    first, second = await storage.run(work)
    assert first is not None and second is None


async def test_a_device_that_is_not_ready_gets_no_bundle(storage):
    async def work(tx, step):
        await add_study(tx, 1)
        await tx.devices.put(Device(DEVICE, DeviceKind.CPU))
        await tx.devices.move(DEVICE, step)
        return await tx.bundles.insert(PlannedBundle(STUDY, TrialKind.SEARCH, (0,)), DEVICE)

    assert await storage.run(lambda tx: work(tx, DRAIN_DEVICE)) is None


async def test_two_workers_never_get_the_same_bundle(storage):
    async def work(tx):
        await add_study(tx, 1)
        await tx.devices.put(Device(DEVICE, DeviceKind.CPU))
        await tx.bundles.insert(PlannedBundle(STUDY, TrialKind.SEARCH, (0,)), DEVICE)

    await storage.run(work)
    leases = await asyncio.gather(*(storage.run(lambda tx: tx.leases.acquire(DEVICE, "w", 60)) for _ in range(5)))
    assert sum(lease is not None for lease in leases) == 1


async def test_an_ended_lease_writes_nothing(storage):
    _, lease = await storage.run(add_lease)
    assert await storage.run(lambda tx: tx.leases.end(lease.name, lease.fencing_token, EXPIRE_LEASE))
    for write in (
        lambda tx: tx.leases.renew(lease.name, lease.fencing_token, 60),
        lambda tx: tx.leases.renew(lease.name, lease.fencing_token + 1, 60),
    ):
        with pytest.raises(FailedPrecondition) as caught:
            await storage.run(write)
        assert caught.value.reason == "LEASE_LOST"
    assert await storage.run(lambda tx: tx.leases.end(lease.name, lease.fencing_token, RELEASE_LEASE)) is None


async def test_an_ended_lease_returns_its_running_trials_to_pending_with_their_checkpoint(storage):
    bundle, lease = await storage.run(lambda tx: add_lease(tx, 3))
    checkpoint = Artifact("file:///c", "sha256:0", 10)
    await storage.run(lambda tx: tx.trials.progress(STUDY, [Progress(0, 4, checkpoint, "line\n")], on_slot=True))
    await storage.run(lambda tx: tx.trials.progress(STUDY, [Progress(0, 6, None, "line\x00\n")], on_slot=True))
    await storage.run(lambda tx: tx.trials.move(STUDY, [1], PAUSE_TRIAL))
    await storage.run(lambda tx: tx.leases.end(lease.name, lease.fencing_token, EXPIRE_LEASE))
    assert await storage.run(states) == [TrialState.PENDING, TrialState.PAUSED, TrialState.PENDING]
    trial = await storage.run(lambda tx: tx.trials.get(STUDY.trial(0)))
    assert (trial.checkpoint, trial.checkpoint_steps, trial.steps, trial.bundle) == (checkpoint, 4, 6, None)
    assert trial.log == "line\nline\n"
    assert await storage.run(lambda tx: tx.bundles.live()) == []
    assert (await storage.run(lambda tx: tx.studies.statistics(STUDY))).slot_trial_steps == 6


async def test_only_leases_whose_time_is_over_are_overdue(storage):
    _, lease = await storage.run(lambda tx: add_lease(tx, 1, seconds=-1.0))
    assert [each.name for each in await storage.run(lambda tx: tx.leases.overdue())] == [lease.name]
    await storage.run(lambda tx: tx.leases.renew(lease.name, lease.fencing_token, 60))
    assert await storage.run(lambda tx: tx.leases.overdue()) == []


async def test_fencing_tokens_only_grow(storage):
    _, first = await storage.run(lambda tx: add_lease(tx, 1))
    await storage.run(lambda tx: tx.leases.end(first.name, first.fencing_token, RELEASE_LEASE))
    await storage.run(lambda tx: tx.bundles.insert(PlannedBundle(STUDY, TrialKind.SEARCH, (0,)), DEVICE))
    second = await storage.run(lambda tx: tx.leases.acquire(DEVICE, "w", 60))
    assert second.fencing_token > first.fencing_token


async def test_a_dissolved_bundle_frees_its_device_and_its_trials(storage):
    async def work(tx):
        await add_study(tx, 1)
        await tx.devices.put(Device(DEVICE, DeviceKind.CPU))
        bundle = await tx.bundles.insert(PlannedBundle(STUDY, TrialKind.SEARCH, (0,)), DEVICE)
        return await tx.bundles.dissolve(bundle.number), await tx.bundles.dissolve(bundle.number)

    assert await storage.run(work) == (True, False)
    assert [trial.bundle for trial in await storage.run(lambda tx: tx.trials.all(STUDY))] == [None]
    assert await storage.run(lambda tx: tx.leases.acquire(DEVICE, "w", 60)) is None


async def test_a_gone_device_is_ready_again_when_it_is_put_and_a_draining_one_is_not(storage):
    device = Device(DEVICE, DeviceKind.SLOT, bubble_seconds=0.1)
    await storage.run(lambda tx: tx.devices.put(device))
    await storage.run(lambda tx: tx.devices.move(DEVICE, LOSE_DEVICE))
    back = await storage.run(lambda tx: tx.devices.put(replace(device, bubble_seconds=0.2)))
    assert (back.state, back.bubble_seconds) == (DeviceState.READY, 0.2)
    await storage.run(lambda tx: tx.devices.move(DEVICE, DRAIN_DEVICE))
    assert (await storage.run(lambda tx: tx.devices.put(device))).state is DeviceState.DRAINING
