"""Population-based training over the wire, on a real Postgres: what a round decides is stored with its measurements."""

from __future__ import annotations

import asyncio

import pytest
from typer.testing import CliRunner

from hydro.api.coordinator.v1 import study_pb2, study_service_pb2, trial_pb2, worker_service_pb2
from hydro.api.tuner.v1 import surrogate_pb2
from hydro.api.type.v1 import search_space_pb2
from hydro.client import Client
from hydro.client.command.main import build
from hydro.client.command.output import pairs
from hydro.kit.errors import FailedPrecondition

NAME = "projects/p/studies/digits"
POPULATION = study_pb2.PopulationBasedTraining(
    interval_steps=2, quantile=0.25, resample_probability=0.25, perturbation=0.2
)


def population_request(make_study_request, folder, **changes):
    lr = search_space_pb2.Parameter(name="lr", float_domain=search_space_pb2.FloatDomain(min=0.001, max=1, log=True))
    batch = search_space_pb2.Parameter(name="batch")
    batch.constant_domain.value.int_value = 64
    space = search_space_pb2.SearchSpace(parameters=[lr, batch])
    chosen = {
        "population": POPULATION, "pruner": None, "search_space": space, "max_steps": 6, "max_trials": 4,
        "parallelism": 4,
    }  # fmt: skip
    return make_study_request(folder, **{**chosen, **changes})


async def lease_of(coordinator, worker):
    while (lease := await worker.acquire()) is None:
        pass
    return lease


def check_shown(address, number):
    """`hydro trial show` has a line for each change of a member."""
    given = ["trial", "show", "digits", str(number), "--project", "p", "--address", address]
    result = CliRunner().invoke(build(given), given, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    first = rows.index(["from", "step", "weights", "of", "hyperparameters"]) + 1
    with Client(address, project="p") as client:
        changes = client.get_study("digits").get_trial(number).changes
    assert len(changes) > 1 and rows[first : first + len(changes)] == [
        [str(each.step), "-" if each.parent is None else str(each.parent), *pairs(each.hyperparameters).split()]
        for each in changes
    ]


async def trials_of(coordinator):
    answer = await coordinator.studies.ListTrials(study_service_pb2.ListTrialsRequest(parent=NAME, page_size=50))
    return {each.name: each for each in answer.trials}


async def test_rounds_are_decided_once_and_survive_killed_coordinators_and_workers(
    coordinator, make_worker, make_study_request, wait_until, tmp_path
):
    worker = make_worker(coordinator, "devices/one")
    await worker.register()
    await coordinator.studies.CreateStudy(population_request(make_study_request, tmp_path))
    lease = await lease_of(coordinator, worker)
    lanes = {lane.trial: lane for lane in lease.recipe.lanes}
    assert len(lanes) == 4 and list(lease.recipe.measured_steps) == [2, 4, 6]
    by_rate = sorted(lanes, key=lambda name: lanes[name].hyperparameters["lr"].double_value)

    reports = [worker.lane_report(lane, 2) for lane in lanes.values()]
    first = await worker.report(lease, 1, reports)
    (clone,) = first.clones
    assert (clone.lane.trial, clone.parent) == (by_rate[-1], by_rate[0])
    assert clone.lane.checkpoint.uri == f"file:///{clone.parent}/2" and clone.lane.start_step == 2
    assert {each.verdict for each in first.verdicts} == {worker_service_pb2.VERDICT_CONTINUE}

    # The answer may have been lost: the message is sent again, and decides nothing anew.
    assert (await worker.report(lease, 1, reports)).clones == first.clones

    # Both may die: another worker gets the clone as it was decided.
    coordinator.kill()
    await coordinator.start()
    lease = await lease_of(coordinator, worker)
    lanes = {lane.trial: lane for lane in lease.recipe.lanes}
    assert lanes[clone.lane.trial] == clone.lane

    await worker.train(lease)
    study = await wait_until(coordinator, NAME, study_pb2.STUDY_STATE_SUCCEEDED)
    trials = await trials_of(coordinator)
    cloned = trials[clone.lane.trial]
    assert [(each.step, each.trial, each.parent) for each in cloned.changes][:2] == [
        (0, cloned.name, ""),
        (2, cloned.name, clone.parent),
    ]
    assert cloned.changes[1].hyperparameters == clone.lane.hyperparameters
    await asyncio.to_thread(check_shown, coordinator.address, int(cloned.name.rpartition("/")[2]))
    (started, *_), after = cloned.schedule, next(each for each in cloned.schedule if each.step == 2)
    assert (started.trial, after.parent) == (clone.parent, clone.parent)
    assert {each.state for each in trials.values()} == {trial_pb2.TRIAL_STATE_SUCCEEDED}

    with pytest.raises(FailedPrecondition, match="is a member of a population"):
        await coordinator.studies.GetTrialRecipe(study_service_pb2.GetTrialRecipeRequest(name=cloned.name))

    target = await coordinator.studies.TrainTarget(study_service_pb2.TrainTargetRequest(name=NAME, request_id="target"))
    best = trials[study.best_trial]
    assert [(each.step, each.hyperparameters) for each in target.schedule] == [
        (each.step, each.hyperparameters) for each in best.schedule
    ]


async def test_a_population_over_the_structure_fails_and_names_it(
    coordinator, tuner, make_study_request, wait_until, tmp_path
):
    request = population_request(make_study_request, tmp_path)
    batch = request.study.search_space.parameters[1]
    batch.categorical_domain.values.extend(search_space_pb2.Value(int_value=size) for size in (64, 128))
    assert tuner.state == surrogate_pb2.SURROGATE_STATE_READY
    await coordinator.studies.CreateStudy(request)
    study = await wait_until(coordinator, NAME, study_pb2.STUDY_STATE_FAILED)
    assert "'batch' may change the structure of the graph" in study.state_reason
