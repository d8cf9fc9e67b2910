"""How studies end before all their trials, and what becomes of trials whose worker is lost."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from hydro.coordinator.asking import Asking
from hydro.coordinator.bell import Bell
from hydro.coordinator.judgement import succeed
from hydro.coordinator.leasing import Leasing
from hydro.coordinator.pruners import Pruners
from hydro.coordinator.pruning_rules import NoPruning
from hydro.coordinator.reconcile.finish import finish
from hydro.coordinator.search.optuna_backend import OptunaBackend
from hydro.coordinator.search_space import CategoricalDomain, IntDomain, Parameter, SearchSpace
from hydro.coordinator.stopping import Endurance, Stopping
from hydro.coordinator.storage.postgres_storage import PostgresStorage
from hydro.coordinator.storage.trial_values import Measured
from hydro.coordinator.study import PAUSE_STUDY, RESUME_STUDY, Sampler, StudyState
from hydro.coordinator.trial import (
    FAIL_TRIAL,
    PAUSE_TRIAL,
    START_TRIAL,
    SUCCEED_TRIAL,
    Measurement,
    TrialState,
    Verdict,
)
from hydro.kit.clock import ManualClock

from .stored_study import CPU, STUDY, add_study, allocate, states


@pytest.fixture
async def storage(database_url):
    storage = await PostgresStorage.open(database_url)
    yield storage
    await storage.close()


@pytest.fixture
def leasing(storage):
    return Leasing(storage, Pruners(), Bell(), ManualClock(), [], 60.0)


async def lose(storage, leasing, *numbers, reason="exit code 9"):
    await storage.run(lambda tx: allocate(tx, CPU, *numbers))
    grant = await leasing.acquire(CPU.name, "w", "", 0)
    await leasing.expire({grant.lease: reason})


async def test_a_lease_that_was_lost_by_no_trial_s_fault_counts_for_none(storage, leasing):
    await storage.run(add_study)
    for _ in range(5):
        await lose(storage, leasing, 0, reason="")
    trial = await storage.run(lambda tx: tx.trials.get(STUDY.trial(0)))
    assert (trial.state, trial.failures, trial.retries) == (TrialState.PENDING, 0, ())


async def test_a_trial_that_loses_its_workers_alone_fails_and_every_reason_is_kept(storage, leasing):
    await storage.run(partial(add_study, endurance=Endurance(max_retries=2)))
    for loss in range(3):
        assert (await states(storage))[0] is TrialState.PENDING, loss
        await lose(storage, leasing, 0, reason=f"exit code {loss}")
    trial = await storage.run(lambda tx: tx.trials.get(STUDY.trial(0)))
    assert trial.state is TrialState.FAILED
    assert trial.state_reason == "its worker was lost 3 times: exit code 2"
    assert [(each.reason, each.lanes) for each in trial.retries] == [(f"exit code {loss}", 1) for loss in range(3)]
    assert "exit code 0" in trial.log and "exit code 2" in trial.log


async def test_trials_that_lose_a_worker_together_come_under_suspicion_and_no_retry_is_burnt(storage, leasing):
    await storage.run(add_study)
    await lose(storage, leasing, 0, 1, 2)
    trials = await storage.run(lambda tx: tx.trials.open(STUDY))
    assert [(each.state, each.failures, each.lane_limit) for each in trials] == [(TrialState.PENDING, 0, 2)] * 3


async def test_a_trial_that_workers_give_up_too_often_has_failed(storage, leasing):
    await storage.run(partial(add_study, endurance=Endurance(max_retries=2)))
    for attempt in range(3):
        assert (await states(storage))[0] is TrialState.PENDING, attempt
        await storage.run(lambda tx: allocate(tx, CPU, 0))
        grant = await leasing.acquire(CPU.name, "w", "", 0)
        await leasing.release(grant.lease.name, grant.lease.fencing_token, "out of memory")
    trial = await storage.run(lambda tx: tx.trials.get(STUDY.trial(0)))
    assert (trial.state, trial.state_reason) == (TrialState.FAILED, "out of memory")


async def succeed_with(storage, *values):
    for number, value in enumerate(values):
        measured = Measured(number, Measurement(4, {"loss": value}), value, Verdict.STOP)
        await storage.run(lambda tx, number=number: tx.trials.move(STUDY, [number], START_TRIAL))
        await storage.run(lambda tx, measured=measured: tx.trials.measure(STUDY, [measured]))
        await storage.run(lambda tx, number=number, value=value: end_with(tx, number, value))


async def end_with(tx, number, value):
    await succeed(tx, await tx.studies.get(STUDY), STUDY.trial(number), {"loss": value})


async def ended(storage):
    await finish(storage, Pruners(), Bell())
    study = await storage.run(lambda tx: tx.studies.get(STUDY))
    return study.state, study.state_reason


async def test_a_target_that_is_reached_ends_the_study_and_its_open_trials(storage):
    await storage.run(partial(add_study, trials=4, max_trials=8, stopping=Stopping(target_value=0.25)))
    await succeed_with(storage, 0.5)
    assert await ended(storage) == (StudyState.SEARCHING, "")
    await storage.run(lambda tx: tx.trials.move(STUDY, [1, 2], START_TRIAL))
    await storage.run(lambda tx: tx.trials.move(STUDY, [2], PAUSE_TRIAL))
    await storage.run(lambda tx: end_with(tx, 1, 0.25))
    await storage.run(lambda tx: tx.trials.measure(STUDY, [Measured(1, Measurement(4, {}), 0.25, Verdict.STOP)]))
    reason = "the target value 0.25 was reached: the best trial has 0.25"
    assert await ended(storage) == (StudyState.SUCCEEDED, reason)
    assert await states(storage) == [
        TrialState.SUCCEEDED, TrialState.SUCCEEDED, TrialState.PRUNED, TrialState.CANCELLED
    ]  # fmt: skip


async def test_trials_without_an_improvement_end_the_study(storage):
    stopping = Stopping(max_trials_without_improvement=2)
    await storage.run(partial(add_study, trials=4, max_trials=8, stopping=stopping))
    await succeed_with(storage, 0.5, 0.6)
    assert (await ended(storage))[0] is StudyState.SEARCHING
    await storage.run(lambda tx: tx.trials.move(STUDY, [2], START_TRIAL))
    await storage.run(lambda tx: end_with(tx, 2, 0.7))
    assert await ended(storage) == (StudyState.SUCCEEDED, "no trial of the last 2 was better than the best")


async def test_the_duration_is_the_time_of_search_and_pauses_do_not_count(storage):
    await storage.run(partial(add_study, stopping=Stopping(max_duration_seconds=0.3)))
    await storage.run(lambda tx: tx.studies.move(STUDY, PAUSE_STUDY))
    await asyncio.sleep(0.4)
    before = (await storage.run(lambda tx: tx.studies.standing(STUDY))).searched_seconds
    assert before == (await storage.run(lambda tx: tx.studies.statistics(STUDY))).searched_seconds < 0.3
    await storage.run(lambda tx: tx.studies.move(STUDY, RESUME_STUDY))
    await asyncio.sleep(0.3)
    state, reason = await ended(storage)
    assert state is StudyState.SUCCEEDED and "of 0.3 s" in reason


async def test_a_failure_budget_that_is_used_up_fails_the_study_with_the_first_reasons(storage):
    await storage.run(partial(add_study, max_trials=8, endurance=Endurance(failure_budget=2)))
    for number, reason in enumerate(["no such file", "out of memory"]):
        assert (await ended(storage))[0] is StudyState.SEARCHING
        await storage.run(lambda tx, n=number, r=reason: tx.trials.move(STUDY, [n], FAIL_TRIAL, r))
    state, reason = await ended(storage)
    assert state is StudyState.FAILED
    assert "trial 0: no such file" in reason and "trial 1: out of memory" in reason
    assert (await states(storage))[2] is TrialState.CANCELLED


GRID = SearchSpace(
    (
        Parameter("depth", IntDomain(1, 3)),
        Parameter("dropout", CategoricalDomain((0.0, 0.5)), not_transferable=True),
        Parameter("bias", CategoricalDomain((True, False))),
    )
)


async def move_all(tx, step):
    await tx.trials.move(STUDY, range(12), step)


async def test_a_grid_ends_though_its_surrogate_leaves_parameters_out(storage):
    grid = {"search_space": GRID, "sampler": Sampler.GRID, "pruning": NoPruning(), "max_trials": 12}
    point = {"depth": 2, "dropout": 0.5, "bias": True}
    await storage.run(partial(add_study, trials=0, width=0.5, known_points=(point,), **grid))
    asking = Asking(storage, OptunaBackend(), Bell())
    while await asking.ask(STUDY):
        for step in (START_TRIAL, SUCCEED_TRIAL):
            await storage.run(partial(move_all, step=step))
    await finish(storage, Pruners(), Bell())
    trials = await storage.run(lambda tx: tx.trials.all(STUDY))
    study = await storage.run(lambda tx: tx.studies.get(STUDY))
    points = {(each.hyperparameters["depth"], each.hyperparameters["bias"]) for each in trials}
    assert len(trials) == len(points) == study.spec.max_trials == 6
    assert study.state is StudyState.SUCCEEDED and "dropout" not in trials[0].hyperparameters
