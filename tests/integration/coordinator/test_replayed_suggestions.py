"""A suggestion is searched once more from what is stored, also by a process that never saw the study."""

from __future__ import annotations

import asyncio
import itertools
import statistics

import pytest

from hydro.api.coordinator.v1 import study_pb2, study_service_pb2
from hydro.api.type.v1 import search_space_pb2
from hydro.client import Client, TrialKind, choice, hyperband, loguniform, minimize
from hydro.kit.errors import FailedPrecondition

SAMPLERS = {
    "random": {"sampler": study_pb2.SAMPLER_RANDOM},
    "sobol": {"sampler": study_pb2.SAMPLER_QUASI_RANDOM},
    "grid": {"sampler": study_pb2.SAMPLER_GRID},
    "tpe": {"sampler": study_pb2.SAMPLER_TPE},
    "gp": {"sampler": study_pb2.SAMPLER_GP},
    "cmaes": {"sampler": study_pb2.SAMPLER_CMA_ES},
    "nsga2": {"sampler": study_pb2.SAMPLER_NSGA2},
    "hyperopt": {"sampler": study_pb2.SAMPLER_UNSPECIFIED, "external_sampler": "hyperopt"},
}


async def drive(coordinator, name, trials):
    """Four callers, whose trials end in another order than they began; gives those that are left open."""
    running: list[str] = []
    while trials:
        answer = await coordinator.studies.SuggestTrials(study_service_pb2.SuggestTrialsRequest(parent=name, count=1))
        running += [each.name for each in answer.trials]
        trials -= len(answer.trials)
        if len(running) == 4 or not trials:
            await tell(coordinator, running.pop(len(running) // 2))
    return running


async def tell(coordinator, name):
    number = int(name.rpartition("/")[2])
    request = study_service_pb2.CompleteTrialRequest(name=name, value=(number * 7 % 11) / 11)
    if number % 5 == 3:
        request = study_service_pb2.CompleteTrialRequest(name=name, failure="it failed")
    await coordinator.studies.CompleteTrial(request)


def driven_request(make_study_request, folder, sampler, trials):
    """A study over `lr`, where a grid needs steps, and `batch`; it begins with a known point."""
    none = study_pb2.Pruner(none=study_pb2.NoPruner())
    changes = {"task": None, "max_steps": 0, "pruner": none, "max_trials": trials, **SAMPLERS[sampler]}
    request = make_study_request(folder, sampler, **changes)
    if sampler == "grid":
        lr = request.study.search_space.parameters[0]
        lr.float_domain.CopyFrom(search_space_pb2.FloatDomain(min=0, max=1, step=0.05))
    point = request.study.known_points.add()
    point.hyperparameters["lr"].double_value = 0.5
    return request


@pytest.mark.parametrize(
    ("samplers", "before", "after"),
    [
        # More than the 20 trials of Hyperopt's own start-up, and several generations.
        pytest.param([each for each in SAMPLERS if each != "gp"], 18, 14, id="all-but-gp"),
        # Seconds for each suggestion and each replay; more than the 10 of its start-up.
        pytest.param(["gp"], 14, 2, id="gp", marks=pytest.mark.slow),
    ],
)
async def test_driven_suggestions_are_the_same_again_after_a_crash(
    coordinator, make_study_request, tmp_path, samplers, before, after
):
    names = {each: f"projects/p/studies/{each}" for each in samplers}
    for each in samplers:
        request = driven_request(make_study_request, tmp_path, each, before + after)
        await coordinator.studies.CreateStudy(request)
    left = await asyncio.gather(*(drive(coordinator, name, before) for name in names.values()))
    coordinator.kill()
    await coordinator.start()
    for name in itertools.chain(*left):
        await tell(coordinator, name)
    await asyncio.gather(*(drive(coordinator, name, after) for name in names.values()))
    await asyncio.to_thread(check_replays, coordinator.address, samplers, before + after)


def check_replays(address, samplers, count):
    """As a user has it: `trial.replay()`, of trials of before the crash and of after it."""
    with Client(address, project="p") as client:
        for sampler in samplers:
            trials = client.get_study(sampler).trials
            for trial in trials[1:]:
                assert trial.replay() == dict(trial.hyperparameters), trial.name
            with pytest.raises(FailedPrecondition, match="was not suggested"):
                trials[0].replay()
            searched = [each.snapshot.searched for each in trials]
            ended = [number for each in searched if each is not None for number in each.ended]
            assert len(trials) == count and len(ended) == len(set(ended))
            # Random draws from a continuum follow from no other trial.
            assert (len(ended) > count - 10) is (sampler != "random")


async def test_bohbs_suggestions_learn_from_a_budget_and_are_the_same_again_after_a_crash(
    coordinator, working, wait_until, tmp_path
):
    """What trials had measured at a rung counts, whether they wait there, have gone on or have ended since."""
    await working(coordinator)
    await asyncio.to_thread(create_bohb, coordinator.address, tmp_path)
    await asyncio.sleep(1.0)
    coordinator.kill()
    await coordinator.start()
    await wait_until(coordinator, "projects/p/studies/bohb", study_pb2.STUDY_STATE_SUCCEEDED)
    await asyncio.to_thread(check_bohb, coordinator.address)


def create_bohb(address, folder):
    (folder / "toytask.py").write_text("raise RuntimeError('nobody imports this in a server')\n")
    with Client(address, project="p") as client:
        client.create_study(
            "bohb", task="toytask:Toy", source_path=str(folder), objective=minimize("loss"), sampler="tpe",
            search_space={"lr": loguniform(1e-3, 1), "batch": choice([64, 128])}, pruner=hyperband(1, 4, eta=2),
            trials=40, parallelism=8, seed=3,
        )  # fmt: skip


def check_bohb(address):
    with Client(address, project="p") as client:
        trials = client.get_study("bohb").trials
        assert len(trials) == 40
        for trial in trials:
            assert trial.replay() == dict(trial.hyperparameters), trial.name
        histories = [each.snapshot.searched for each in trials]
        assert any(each.paused for each in histories) and any(each.ended for each in histories)
        assert {each.kind for each in trials} == {TrialKind.SEARCH}
        # The loss grows with the rate. The first ones are draws at random, the last ones know dozens of results.
        rates = [each.hyperparameters["lr"] for each in trials]
        assert statistics.median(rates[-16:]) < statistics.median(rates[:10]) / 2
