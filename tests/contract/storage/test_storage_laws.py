"""The laws of the storage port on studies and on transactions, on a real Postgres."""

from __future__ import annotations

import pytest

from hydro.coordinator.names import LeaseName
from hydro.coordinator.storage.trial_values import NewTrial, Progress
from hydro.coordinator.study import CANCEL_STUDY, PAUSE_STUDY, StudyState
from hydro.coordinator.trial import CANCEL_TRIAL, TrialKind
from hydro.kit.errors import AlreadyExists, FailedPrecondition, NotFound

from .stored_lease import DEVICE, SPEC, STUDY, add_lease, add_study


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


async def test_every_change_gives_the_study_a_higher_revision_which_the_changed_trials_carry(storage):
    await storage.run(lambda tx: add_study(tx, 3))
    before = await storage.run(lambda tx: tx.studies.get(STUDY))
    await storage.run(lambda tx: tx.trials.move(STUDY, [1], CANCEL_TRIAL))
    after = await storage.run(lambda tx: tx.studies.get(STUDY))
    assert after.revision > before.revision and after.version == before.version
    changed = await storage.run(lambda tx: tx.trials.changed(STUDY, before.revision))
    assert [(trial.name.number, trial.revision) for trial in changed] == [(1, after.revision)]


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
