"""A suggestion is searched once more from what is stored, also by a process that never saw the study."""

from __future__ import annotations

import asyncio

import pytest

from hydro.api.coordinator.v1 import study_pb2, study_service_pb2, trial_pb2
from hydro.kit.errors import FailedPrecondition

NAME = "projects/p/studies/digits"


async def replayed(coordinator, trial):
    request = study_service_pb2.ReplaySuggestionRequest(name=trial.name)
    answer = await coordinator.studies.ReplaySuggestion(request)
    return {name: (each.double_value, each.int_value) for name, each in answer.hyperparameters.items()}


def suggested(trial):
    return {name: (each.double_value, each.int_value) for name, each in trial.hyperparameters.items()}


async def all_trials(coordinator):
    request = study_service_pb2.ListTrialsRequest(parent=NAME, page_size=100)
    return list((await coordinator.studies.ListTrials(request)).trials)


async def drive(coordinator, trials):
    """Four callers, whose trials end in another order than they began."""
    running: list[str] = []
    while trials:
        answer = await coordinator.studies.SuggestTrials(study_service_pb2.SuggestTrialsRequest(parent=NAME, count=1))
        running += [each.name for each in answer.trials]
        trials -= len(answer.trials)
        if len(running) == 4 or not trials:
            name = running.pop(len(running) // 2)
            await tell(coordinator, name, int(name.rpartition("/")[2]))
    return running


async def tell(coordinator, name, number):
    request = study_service_pb2.CompleteTrialRequest(name=name, value=(number * 7 % 11) / 11)
    if number % 5 == 3:
        request = study_service_pb2.CompleteTrialRequest(name=name, failure="it failed")
    await coordinator.studies.CompleteTrial(request)


async def test_driven_suggestions_are_the_same_again_after_a_crash(coordinator, make_study_request, tmp_path):
    none = study_pb2.Pruner(none=study_pb2.NoPruner())
    changes = {"task": None, "max_steps": 0, "pruner": none, "sampler": study_pb2.SAMPLER_TPE, "max_trials": 26}
    request = make_study_request(tmp_path, **changes)
    point = request.study.known_points.add()
    point.hyperparameters["lr"].double_value = 0.5
    await coordinator.studies.CreateStudy(request)
    left = await drive(coordinator, 16)
    coordinator.kill()
    await coordinator.start()
    for name in left:
        await tell(coordinator, name, int(name.rpartition("/")[2]))
    await drive(coordinator, 10)
    trials = await all_trials(coordinator)
    for trial in trials[1:]:
        assert await replayed(coordinator, trial) == suggested(trial), trial.name
    with pytest.raises(FailedPrecondition, match="was not suggested"):
        await replayed(coordinator, trials[0])
    ended = [number for trial in trials for number in trial.searched_history.ended]
    assert len(trials) == 26 and len(ended) == len(set(ended)) > 16


async def test_the_suggestions_of_a_task_study_are_the_same_again_after_a_crash(
    coordinator, working, make_study_request, wait_until, tmp_path
):
    """BOHB: what trials had measured at a rung counts, whether they wait there, have gone on or have ended since."""
    await working(coordinator)
    hyperband = study_pb2.Pruner(hyperband=study_pb2.HyperbandPruner(min_steps=1, eta=2))
    changes = {"pruner": hyperband, "sampler": study_pb2.SAMPLER_TPE, "max_trials": 32}
    await coordinator.studies.CreateStudy(make_study_request(tmp_path, **changes))
    await asyncio.sleep(1.0)
    coordinator.kill()
    await coordinator.start()
    await wait_until(coordinator, NAME, study_pb2.STUDY_STATE_SUCCEEDED)
    trials = await all_trials(coordinator)
    for trial in trials:
        assert await replayed(coordinator, trial) == suggested(trial), trial.name
    histories = [trial.searched_history for trial in trials]
    assert any(each.paused for each in histories) and any(each.ended for each in histories)
    assert {trial.kind for trial in trials} == {trial_pb2.TRIAL_KIND_SEARCH}
