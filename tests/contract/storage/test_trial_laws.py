"""The laws of the storage port on trials, on a real Postgres."""

from __future__ import annotations

import asyncio

from hydro.coordinator.bundle import PlannedBundle
from hydro.coordinator.device import Device, DeviceKind
from hydro.coordinator.names import DeviceName
from hydro.coordinator.storage.trial_values import Measured, NewTrial
from hydro.coordinator.trial import (
    CANCEL_TRIAL,
    PAUSE_TRIAL,
    PROMOTE_TRIAL,
    SUCCEED_TRIAL,
    Measurement,
    TrialKind,
    Verdict,
)

from .stored_lease import DEVICE, STUDY, add_lease, add_study


async def test_of_competing_moves_one_wins(storage):
    await storage.run(lambda tx: add_lease(tx, 1))
    moved = await asyncio.gather(
        *(storage.run(lambda tx, step=step: tx.trials.move(STUDY, [0], step)) for step in (SUCCEED_TRIAL, CANCEL_TRIAL))
    )
    assert sorted(map(len, moved)) == [0, 1]


async def test_trial_numbers_are_never_given_twice(storage):
    await storage.run(add_study)
    await asyncio.gather(*(storage.run(lambda tx: tx.trials.insert(STUDY, [NewTrial({}, 0)] * 3)) for _ in range(5)))
    trials = await storage.run(lambda tx: tx.trials.all(STUDY))
    assert [trial.name.number for trial in trials] == list(range(15))


async def test_the_first_measurement_of_a_step_stands(storage):
    async def measure(tx, *losses):
        measured = [Measured(n, Measurement(2, {"loss": each}), each, Verdict.PAUSE) for n, each in enumerate(losses)]
        return await tx.trials.measure(STUDY, measured)

    await storage.run(lambda tx: add_lease(tx, 2))
    assert await storage.run(lambda tx: measure(tx, 0.5)) == [(0, 2)]
    assert await storage.run(lambda tx: measure(tx, 0.25, 0.75)) == [(1, 2)]
    stands = await storage.run(lambda tx: tx.trials.standing(STUDY, [(0, 2), (0, 3)]))
    assert stands == {(0, 2): Measured(0, Measurement(2, {"loss": 0.5}), 0.5, Verdict.PAUSE)}
    trials = await storage.run(lambda tx: tx.trials.all(STUDY))
    assert [(trial.value, trial.steps) for trial in trials] == [(0.5, 2), (0.75, 2)]


async def test_a_trial_s_value_is_the_one_of_its_last_step(storage):
    await storage.run(lambda tx: add_lease(tx, 1))
    for step, value in ((4, 0.5), (2, 0.75), (6, None)):
        measured = Measured(0, Measurement(step, {"loss": value or 0.0}), value, Verdict.CONTINUE)
        await storage.run(lambda tx, one=measured: tx.trials.measure(STUDY, [one]))
    trial = await storage.run(lambda tx: tx.trials.get(STUDY.trial(0)))
    assert (trial.value, trial.steps) == (0.5, 6)


async def test_measurements_that_are_not_finite_are_read_as_they_are(storage):
    await storage.run(lambda tx: add_lease(tx, 1))
    metrics = {"loss": float("nan"), "other": float("-inf")}
    measured = Measured(0, Measurement(2, metrics), None, Verdict.STOP)
    await storage.run(lambda tx: tx.trials.measure(STUDY, [measured]))
    (read,) = (await storage.run(lambda tx: tx.trials.get(STUDY.trial(0)))).measurements
    assert repr(dict(read.metrics)) == repr(metrics)


async def test_a_trial_is_in_one_bundle_at_a_time(storage):
    async def work(tx):
        await add_study(tx, 2)
        other = DeviceName("devices/cpu-1")
        for device in (DEVICE, other):
            await tx.devices.put(Device(device, DeviceKind.CPU))
        plan = PlannedBundle(STUDY, TrialKind.SEARCH, (0,))
        return [await tx.bundles.insert(plan, device) for device in (DEVICE, other)]

    first, second = await storage.run(work)
    assert first is not None and second is None


async def test_a_trial_joins_a_running_bundle_once(storage):
    bundle, _ = await storage.run(lambda tx: add_lease(tx, 1))
    await storage.run(lambda tx: tx.trials.insert(STUDY, [NewTrial({}, 0)]))
    assert await storage.run(lambda tx: tx.trials.join(STUDY, [1], bundle.number, 5)) == [1]
    assert await storage.run(lambda tx: tx.trials.join(STUDY, [1], bundle.number, 6)) == []
    inserted = await storage.run(lambda tx: tx.trials.inserted(bundle.number, 5))
    assert [trial.name.number for trial in inserted] == [1]


async def test_a_promoted_trial_waits_in_no_bundle(storage):
    await storage.run(lambda tx: add_lease(tx, 1))
    await storage.run(lambda tx: tx.trials.move(STUDY, [0], PAUSE_TRIAL))
    await storage.run(lambda tx: tx.trials.move(STUDY, [0], PROMOTE_TRIAL))
    (waiting,) = await storage.run(lambda tx: tx.trials.waiting(TrialKind.SEARCH))
    assert waiting.bundle is None
