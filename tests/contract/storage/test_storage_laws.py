"""The laws in the docstring of the storage port, on a real Postgres."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from hydro.coordinator.bundle import Execution, MemoryMiss, PlannedBundle
from hydro.coordinator.device import DRAIN_DEVICE, LOSE_DEVICE, Device, DeviceKind, DeviceState
from hydro.coordinator.lease import EXPIRE_LEASE, RELEASE_LEASE, LeaseState
from hydro.coordinator.names import DeviceName, LeaseName, StudyName
from hydro.coordinator.pruning_rules import AshaPruning
from hydro.coordinator.search_space import (
    CategoricalDomain,
    Condition,
    ConstantDomain,
    FloatDomain,
    IntDomain,
    Parameter,
    SearchSpace,
)
from hydro.coordinator.storage.postgres_storage import PostgresStorage
from hydro.coordinator.storage.storage import Transaction
from hydro.coordinator.storage.trial_values import Measured, NewTrial, Progress
from hydro.coordinator.study import (
    CANCEL_STUDY,
    PAUSE_STUDY,
    START_SEARCH,
    Goal,
    Objective,
    Sampler,
    StudySpec,
    StudyState,
    Task,
)
from hydro.coordinator.trial import (
    CANCEL_TRIAL,
    PAUSE_TRIAL,
    PROMOTE_TRIAL,
    SUCCEED_TRIAL,
    Artifact,
    Measurement,
    TrialKind,
    TrialState,
    Verdict,
)
from hydro.kit.errors import AlreadyExists, FailedPrecondition, NotFound

STUDY = StudyName("p", "digits")
DEVICE = DeviceName("devices/cpu-0")
SPEC = StudySpec(
    task=Task("digits:Digits", "/tasks"),
    search_space=SearchSpace(
        (
            Parameter("lr", FloatDomain(1e-5, 1e22, log=True)),
            Parameter("layers", IntDomain(1, 4)),
            Parameter("kind", CategoricalDomain(("a", 1, 1.0, True))),
            Parameter("width", ConstantDomain(3.0), (Condition("layers", (2, 3)),), not_transferable=True),
        )
    ),
    objective=Objective("loss", Goal.MINIMIZE),
    sampler=Sampler.TPE,
    pruning=AshaPruning(2, 2),
    max_steps=8,
    surrogate_width=0.25,
    surrogate_depth=0.5,
    max_trials=8,
    parallelism=4,
    seed=7,
)


@pytest.fixture
async def storage(database_url):
    storage = await PostgresStorage.open(database_url)
    yield storage
    await storage.close()


async def add_study(tx: Transaction, trials: int = 0, name: StudyName = STUDY):
    study = await tx.studies.insert(name, SPEC, StudyState.PREPARING)
    await tx.studies.move(name, START_SEARCH)
    await tx.trials.insert(name, [NewTrial({"lr": 0.1 * (n + 1)}, n) for n in range(trials)])
    return study


async def add_lease(tx: Transaction, trials: int = 2, seconds: float = 60.0):
    await add_study(tx, trials)
    await tx.devices.put(Device(DEVICE, DeviceKind.CPU))
    bundle = await tx.bundles.insert(PlannedBundle(STUDY, TrialKind.SEARCH, tuple(range(trials)), max_lanes=4), DEVICE)
    lease = await tx.leases.acquire(DEVICE, "worker", seconds)
    assert bundle is not None and lease is not None
    return bundle, lease


async def states(tx: Transaction):
    return [trial.state for trial in await tx.trials.all(STUDY)]


async def test_a_study_is_read_as_it_was_written(storage):
    await storage.run(add_study)
    study = await storage.run(lambda tx: tx.studies.get(STUDY))
    assert study.spec == SPEC
    assert study.spec.search_space.parameters[0].domain.max == 1e22
    assert [type(each) for each in study.spec.search_space.parameters[2].domain.values] == [str, int, float, bool]


async def test_a_taken_name_is_refused(storage):
    await storage.run(add_study)
    with pytest.raises(AlreadyExists):
        await storage.run(add_study)


async def test_what_does_not_exist_is_not_found(storage):
    for read in (
        lambda tx: tx.studies.get(STUDY),
        lambda tx: tx.studies.lock(STUDY),
        lambda tx: tx.trials.get(STUDY.trial(0)),
        lambda tx: tx.devices.get(DEVICE),
        lambda tx: tx.leases.get(LeaseName(9)),
        lambda tx: tx.bundles.get(9),
        lambda tx: tx.studies.delete(STUDY),
    ):
        with pytest.raises(NotFound):
            await storage.run(read)


async def test_work_that_raises_stores_nothing(storage):
    async def work(tx):
        await add_study(tx, 3)
        raise FailedPrecondition("no")

    with pytest.raises(FailedPrecondition):
        await storage.run(work)
    with pytest.raises(NotFound):
        await storage.run(lambda tx: tx.studies.get(STUDY))


async def test_a_state_moves_only_from_a_source(storage):
    await storage.run(add_study)
    study = await storage.run(lambda tx: tx.studies.move(STUDY, CANCEL_STUDY))
    assert study.state is StudyState.CANCELLED and study.end_time is not None
    with pytest.raises(FailedPrecondition) as caught:
        await storage.run(lambda tx: tx.studies.move(STUDY, PAUSE_STUDY))
    assert caught.value.reason == "WRONG_STATE"


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


async def test_a_trial_joins_a_running_bundle_once(storage):
    bundle, _ = await storage.run(lambda tx: add_lease(tx, 1))
    await storage.run(lambda tx: tx.trials.insert(STUDY, [NewTrial({}, 0)]))
    assert await storage.run(lambda tx: tx.trials.join(STUDY, [1], bundle.number, 5)) == [1]
    assert await storage.run(lambda tx: tx.trials.join(STUDY, [1], bundle.number, 6)) == []
    inserted = await storage.run(lambda tx: tx.trials.inserted(bundle.number, 5))
    assert [trial.name.number for trial in inserted] == [1]


async def test_a_dissolved_bundle_frees_its_device_and_its_trials(storage):
    async def work(tx):
        await add_study(tx, 1)
        await tx.devices.put(Device(DEVICE, DeviceKind.CPU))
        bundle = await tx.bundles.insert(PlannedBundle(STUDY, TrialKind.SEARCH, (0,)), DEVICE)
        return await tx.bundles.dissolve(bundle.number), await tx.bundles.dissolve(bundle.number)

    assert await storage.run(work) == (True, False)
    assert [trial.bundle for trial in await storage.run(lambda tx: tx.trials.all(STUDY))] == [None]
    assert await storage.run(lambda tx: tx.leases.acquire(DEVICE, "w", 60)) is None


async def test_every_change_gives_the_study_a_higher_revision_which_the_changed_trials_carry(storage):
    await storage.run(lambda tx: add_study(tx, 3))
    before = await storage.run(lambda tx: tx.studies.get(STUDY))
    await storage.run(lambda tx: tx.trials.move(STUDY, [1], CANCEL_TRIAL))
    after = await storage.run(lambda tx: tx.studies.get(STUDY))
    assert after.revision > before.revision and after.version == before.version
    changed = await storage.run(lambda tx: tx.trials.changed(STUDY, before.revision))
    assert [(trial.name.number, trial.revision) for trial in changed] == [(1, after.revision)]


async def test_a_promoted_trial_waits_in_no_bundle(storage):
    await storage.run(lambda tx: add_lease(tx, 1))
    await storage.run(lambda tx: tx.trials.move(STUDY, [0], PAUSE_TRIAL))
    await storage.run(lambda tx: tx.trials.move(STUDY, [0], PROMOTE_TRIAL))
    (waiting,) = await storage.run(lambda tx: tx.trials.waiting(TrialKind.SEARCH))
    assert waiting.bundle is None


async def test_a_gone_device_is_ready_again_when_it_is_put_and_a_draining_one_is_not(storage):
    device = Device(DEVICE, DeviceKind.SLOT, bubble_seconds=0.1)
    await storage.run(lambda tx: tx.devices.put(device))
    await storage.run(lambda tx: tx.devices.move(DEVICE, LOSE_DEVICE))
    back = await storage.run(lambda tx: tx.devices.put(replace(device, bubble_seconds=0.2)))
    assert (back.state, back.bubble_seconds) == (DeviceState.READY, 0.2)
    await storage.run(lambda tx: tx.devices.move(DEVICE, DRAIN_DEVICE))
    assert (await storage.run(lambda tx: tx.devices.put(device))).state is DeviceState.DRAINING


async def test_a_deleted_study_takes_everything_of_it_along(storage):
    _, lease = await storage.run(add_lease)
    await storage.run(lambda tx: tx.studies.delete(STUDY))
    with pytest.raises(NotFound):
        await storage.run(lambda tx: tx.leases.get(lease.name))
    assert (await storage.run(lambda tx: tx.devices.get(DEVICE))).bundle is None


async def test_an_answer_is_remembered_by_method_and_request(storage):
    await storage.run(lambda tx: tx.requests.remember("CreateStudy", "r", ["a", "b"]))
    assert await storage.run(lambda tx: tx.requests.answer("CreateStudy", "r")) == ["a", "b"]
    assert await storage.run(lambda tx: tx.requests.answer("TrainTarget", "r")) is None
    assert await storage.run(lambda tx: tx.requests.answer("CreateStudy", "")) is None


async def test_statistics_count_search_trials_alone(storage):
    bundle, _ = await storage.run(add_lease)
    await storage.run(lambda tx: tx.trials.insert(STUDY, [NewTrial({}, 0, TrialKind.TARGET)]))
    await storage.run(lambda tx: tx.bundles.note(bundle.number, 2, 3.0))
    await storage.run(lambda tx: tx.trials.add_device_seconds(STUDY, [0, 1], 1.5))
    await storage.run(lambda tx: tx.trials.progress(STUDY, [Progress(1, 5)], on_slot=False))
    counts = await storage.run(lambda tx: tx.studies.statistics(STUDY))
    assert counts.trials_by_state == {"RUNNING": 2}
    assert (counts.bundles, counts.max_fusion_count, counts.device_seconds, counts.trial_steps) == (1, 2, 3.0, 5)
