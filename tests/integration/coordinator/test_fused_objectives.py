"""Studies that workers train: known points, objectives and constraints on a real Postgres."""

from __future__ import annotations

import pytest

from hydro.coordinator.asking import Asking
from hydro.coordinator.bell import Bell
from hydro.coordinator.judgement import fault_of, succeed
from hydro.coordinator.names import StudyName, SurrogateName
from hydro.coordinator.overview import overview
from hydro.coordinator.pruning_rules import NoPruning
from hydro.coordinator.search.random_backend import RandomBackend
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.storage.postgres_storage import PostgresStorage
from hydro.coordinator.study import (
    START_SEARCH,
    Constraint,
    Goal,
    Objective,
    Sampler,
    StudySpec,
    StudyState,
    Task,
)
from hydro.coordinator.surrogate import Surrogate, SurrogateState
from hydro.coordinator.trial import START_TRIAL, Measurement

STUDY = StudyName("p", "s")
SPACE = SearchSpace(
    (Parameter("lr", FloatDomain(0, 1)), Parameter("dropout", FloatDomain(0, 1), not_transferable=True))
)
SPEC = StudySpec(
    Task("toy:Toy"), SPACE, Objective("loss", Goal.MINIMIZE), Sampler.RANDOM, NoPruning(), 4, 0.5, 12, 12, 0,
    further_objectives=(Objective("accuracy", Goal.MAXIMIZE),),
    constraints=(Constraint("memory", max=8.0),),
    known_points=({"lr": 0.25, "dropout": 0.5}, {"lr": 0.75}),
)  # fmt: skip


@pytest.fixture
async def storage(database_url):
    storage = await PostgresStorage.open(database_url)
    surrogate = Surrogate(SurrogateName("p", "s"), SurrogateState.READY, width=0.5)

    async def add(tx):
        await tx.studies.insert(STUDY, SPEC, StudyState.PREPARING)
        await tx.surrogates.put(STUDY, surrogate)
        await tx.studies.move(STUDY, START_SEARCH)

    await storage.run(add)
    yield storage
    await storage.close()


async def trained(storage, number, **metrics):
    """Starts a trial and ends it with these metrics."""

    async def work(tx):
        await tx.trials.move(STUDY, [number], START_TRIAL)
        await succeed(tx, await tx.studies.get(STUDY), STUDY.trial(number), metrics)

    await storage.run(work)


async def test_fused_trials_have_the_known_points_first_and_once(storage):
    assert await Asking(storage, RandomBackend(), Bell()).ask(STUDY) == 3
    await storage.run(lambda tx: tx.studies.add_known_points(STUDY, [{"lr": 0.5}]))
    trials = await storage.run(lambda tx: tx.trials.all(STUDY))
    # What does not transfer is not searched on the surrogate, whatever a point says of it.
    assert [trial.hyperparameters for trial in trials[:2]] == [{"lr": 0.25}, {"lr": 0.75}]
    assert [trial.known_point for trial in trials] == [0, 1, None]
    for trial in trials:
        await trained(storage, trial.name.number, loss=0.5, accuracy=0.5, memory=1.0)
    # Another process asks next: what was used is in the trials.
    await Asking(storage, RandomBackend(), Bell()).ask(STUDY)
    trials = await storage.run(lambda tx: tx.trials.all(STUDY))
    assert [trial.known_point for trial in trials[:5]] == [0, 1, None, 2, None]
    assert trials[3].hyperparameters == {"lr": 0.5}


async def test_fused_trials_make_a_front_of_the_feasible_ones(storage):
    await Asking(storage, RandomBackend(), Bell()).ask(STUDY)
    found = [(0.5, 0.9, 9.0), (0.75, 0.5, 8.0), (0.75, 0.25, 1.0)]
    for number, (loss, accuracy, memory) in enumerate(found):
        await trained(storage, number, loss=loss, accuracy=accuracy, memory=memory)
    shown = await storage.run(_overview)
    assert shown.best_trials == (STUDY.trial(1),) and shown.best_trial == STUDY.trial(1)
    stored = await storage.run(lambda tx: tx.trials.get(STUDY.trial(0)))
    assert stored.result.values == (0.5, 0.9) and stored.result.violations == {"memory": 1.0}


async def test_a_measurement_without_a_constrained_metric_fails_its_trial_at_once(storage):
    study = await storage.run(lambda tx: tx.studies.get(STUDY))
    fault = fault_of(study, Measurement(1, {"loss": 0.5, "accuracy": 0.5}))
    assert fault == "the constrained 'memory' is not among the metrics at step 1: 'accuracy', 'loss'"


async def _overview(tx):
    return await overview(tx, await tx.studies.get(STUDY))
