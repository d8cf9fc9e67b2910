"""A study whose surrogate fails its checks: it ends with the reason, and its surrogate's report can be read."""

import pytest

from hydro.coordinator.bell import Bell
from hydro.coordinator.names import StudyName, SurrogateName
from hydro.coordinator.pruning_rules import AshaPruning
from hydro.coordinator.reconcile.prepare import Preparation, surrogate_name
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.storage.postgres_storage import PostgresStorage
from hydro.coordinator.study import Check, Goal, Objective, Sampler, StudySpec, StudyState, Task, Verification
from hydro.coordinator.surrogate import Surrogate, SurrogateState
from hydro.kit.errors import InvalidArgument

STUDY = StudyName("p", "s")
SPEC = StudySpec(
    Task("toy:Toy"), SearchSpace((Parameter("lr", FloatDomain(0, 1)),)), Objective("loss", Goal.MINIMIZE),
    Sampler.RANDOM, AshaPruning(1, 4), 4, 0.5, 3, 8, 0, Verification((Check.LADDER,)),
)  # fmt: skip


class RefusingTuner:
    """Answers one thing, and keeps what it was asked."""

    def __init__(self, answer: Surrogate | InvalidArgument) -> None:
        self.answer = answer
        self.asked: list[StudySpec] = []

    async def create_surrogate(
        self, name: SurrogateName, spec: StudySpec, artifact_uri: str, threads: int = 0
    ) -> Surrogate:
        self.asked.append(spec)
        if isinstance(self.answer, InvalidArgument):
            raise self.answer
        return self.answer


@pytest.fixture
async def storage(database_url):
    storage = await PostgresStorage.open(database_url)
    yield storage
    await storage.close()


async def refused(storage, answer):
    study = await storage.run(lambda tx: tx.studies.insert(STUDY, SPEC, StudyState.PREPARING))
    tuner = RefusingTuner(answer(study))
    await Preparation(storage, tuner, Bell(), "file:///out").prepare()
    assert tuner.asked[0].verification == SPEC.verification
    return await storage.run(lambda tx: tx.studies.get(STUDY))


async def test_a_study_whose_surrogate_fails_a_check_fails_and_still_names_it(storage):
    study = await refused(
        storage,
        lambda study: Surrogate(
            surrogate_name(study), SurrogateState.FAILED, "the output of head changes more", record=b"told"
        ),
    )
    assert study.state is StudyState.FAILED and "the output of head" in study.state_reason
    assert study.surrogate == surrogate_name(study)


async def test_a_study_that_the_tuner_refuses_has_no_surrogate(storage):
    study = await refused(storage, lambda study: InvalidArgument("verification.checks: needs a learning rate"))
    assert study.state is StudyState.FAILED and "needs a learning rate" in study.state_reason
    assert study.surrogate is None
