"""What is wrong with a study is said with field, value and remedy: at once if it can be seen, else as its failure."""

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest

from hydro.client import Client, StudyState, asha, choice, loguniform, median, minimize, surrogate, uniform
from hydro.client.suite.local import LocalSuite
from hydro.client.suite.postgres import prepare_postgres
from hydro.kit.errors import AlreadyExists, FailedPrecondition, InvalidArgument

TASKS = Path(__file__).with_name("tasks")
TABLES = ("study", "trial", "measurement", "bundle", "lease", "surrogate", "request")
PATIENCE_SECONDS = 150.0


@pytest.fixture(scope="module")
def suite():
    environment = {"HYDRO_COORDINATOR_PATIENCE_SECONDS": "0.2", "OMP_NUM_THREADS": "1"}
    started = LocalSuite.start(environment)
    yield started
    started.stop()


@pytest.fixture(scope="module")
def client(suite):
    with Client(suite.coordinator_address, tuner_address=suite.tuner_address) as client:
        yield client


@pytest.fixture
def stored(suite):
    """Counts the rows of every table that a study writes to."""
    url = prepare_postgres(suite.data_directory / "postgres").url

    async def count():
        connection = await asyncpg.connect(url)
        try:
            return {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}  # noqa: S608
        finally:
            await connection.close()

    return lambda: asyncio.run(count())


@pytest.fixture
def create(client):
    def create(study_id, **changes):
        wanted = {
            "task": "slow_perceptron:SlowPerceptron",
            "source_path": str(TASKS),
            "search_space": {"lr": loguniform(1e-2, 1)},
            "objective": minimize("validation_loss"),
            "sampler": "random",
            "pruner": asha(min_steps=2, max_steps=4, eta=2),
            "surrogate": surrogate(width=0.5),
            "trials": 4,
            "parallelism": 4,
        }
        return client.create_study(study_id, **{**wanted, **changes})

    return create


LR = "study.search_space.parameters[0]"
REFUSED = {
    "no hyperparameter": ({"search_space": {}}, "study.search_space.parameters", "empty"),
    "min above max": ({"search_space": {"lr": uniform(2, 1)}}, f"{LR}.float_domain.min", "2"),
    "log of nothing": ({"search_space": {"lr": loguniform(0, 1)}}, f"{LR}.float_domain.min", "0"),
    "log of a negative number": ({"search_space": {"lr": loguniform(-0.5, 1)}}, f"{LR}.float_domain.min", "-0.5"),
    "an empty choice": ({"search_space": {"lr": choice([])}}, f"{LR}.categorical_domain.values", "empty"),
    "a condition on an unknown parameter": (
        {"search_space": {"lr": uniform(0, 1).when(optimizer=["sgd"])}},
        f"{LR}.conditions[0].parent",
        "optimizer",
    ),
    "a first rung beyond the end": (
        {"pruner": asha(min_steps=100, max_steps=50)},
        "study.pruner.asha.min_steps",
        "100",
    ),
    "an eta that keeps everything": (
        {"pruner": asha(min_steps=2, max_steps=8, eta=1)},
        "study.pruner.asha.eta",
        "1",
    ),
    "an interval beyond the end": (
        {"pruner": median(interval_steps=100, max_steps=50)},
        "study.pruner.median.measurement_interval_steps",
        "100",
    ),
    "width zero": ({"surrogate": surrogate(width=0)}, "study.surrogate_width", "0"),
    "width above one": ({"surrogate": surrogate(width=1.5)}, "study.surrogate_width", "1.5"),
    "an unknown module": ({"task": "nosuchmodule:Task"}, "study.task.entry_point", "nosuchmodule"),
    "an unknown folder": ({"source_path": "/no/such/folder"}, "study.task.source_path", "/no/such/folder"),
    "no trials": ({"trials": 0}, "study.max_trials", "0"),
}


@pytest.mark.parametrize(("changes", "field", "value"), REFUSED.values(), ids=REFUSED)
def test_a_study_with_a_wrong_field_is_refused_with_its_path_and_nothing_is_stored(
    create, stored, changes, field, value
):
    before = stored()
    with pytest.raises(InvalidArgument) as caught:
        create("refused", **changes)
    (violation,) = caught.value.violations
    assert violation.field == field
    assert value in violation.description
    assert ": " in violation.description, "what to do stands behind a colon"
    assert field in str(caught.value)
    assert stored() == before


def test_all_that_is_wrong_is_said_at_once(create, stored):
    before = stored()
    space = {"lr": uniform(2, 1), "momentum": loguniform(0, 1).when(nesterov=[True])}
    with pytest.raises(InvalidArgument) as caught:
        create("Refused", search_space=space, surrogate=surrogate(width=2), task="nosuchmodule:Task")
    momentum = "study.search_space.parameters[1]"
    assert {each.field for each in caught.value.violations} == {
        "study_id",
        "study.task.entry_point",
        f"{LR}.float_domain.min",
        f"{momentum}.float_domain.min",
        f"{momentum}.conditions[0].parent",
        "study.surrogate_width",
    }
    assert stored() == before


def failure_of(study):
    with pytest.raises(FailedPrecondition) as caught:
        study.wait(timeout_seconds=PATIENCE_SECONDS)
    snapshot = study.snapshot()
    assert snapshot.state is StudyState.FAILED
    assert snapshot.state_reason in str(caught.value)
    assert study.trials == []
    return snapshot.state_reason


def test_an_id_that_is_taken_is_refused_and_the_study_of_that_id_stays(create, stored):
    study = create("taken", task="broken_tasks:Raising")
    before = study.snapshot().settings
    rows = stored()
    with pytest.raises(AlreadyExists, match="taken"):
        create("taken", trials=7)
    assert study.snapshot().settings == before
    assert stored()["study"] == rows["study"]
    failure_of(study)


def test_a_task_that_raises_fails_its_study_with_its_line(create):
    reason = failure_of(create("raising", task="broken_tasks:Raising"))
    assert "ValueError: this loss is not written yet" in reason
    assert 'raise ValueError("this loss is not written yet")' in reason


def test_a_width_that_leaves_no_channel_fails_its_study(create):
    reason = failure_of(create("narrow", surrogate=surrogate(width=1 / 128)))
    assert "width" in reason
    assert "0.0078125" in reason


def test_a_metric_that_the_task_never_reports_fails_its_study(create):
    reason = failure_of(create("unreported", objective=minimize("perplexity")))
    assert "perplexity" in reason
    assert "validation_loss" in reason


def test_a_class_that_is_not_in_the_module_fails_its_study(create):
    assert "NoSuchTask" in failure_of(create("classless", task="broken_tasks:NoSuchTask"))


def test_a_model_that_cannot_be_exported_runs_unshrunk_and_unfused(create):
    study = create("branching", task="broken_tasks:NotExportable")
    ended = study.wait(timeout_seconds=PATIENCE_SECONDS)
    assert ended.state is StudyState.SUCCEEDED
    assert sum(ended.statistics.trials_by_state.values()) == 4
    lines = (TASKS / "broken_tasks.py").read_text().splitlines()
    line = 1 + next(number for number, line in enumerate(lines) if "if hidden.sum() > 0" in line)
    (warning,) = ended.warnings
    assert f"broken_tasks.py:{line}" in warning
    assert "unshrunk and unfused" in warning
    assert study.surrogate.width == 1
    assert ended.statistics.max_fusion_count == 1


def leases_of(trials):
    """Names of the leases that the trials ran under: one bundle has one, and each trial's log begins with it."""
    return {name for trial in trials for name in re.findall(r"leases/\d+", trial.log)}


def test_a_trial_whose_loss_is_not_finite_fails_and_its_bundle_goes_on(create):
    study = create("diverging", search_space={"lr": choice([0.1, 1e30])}, trials=8, parallelism=8, seed=1)
    ended = study.wait(timeout_seconds=PATIENCE_SECONDS)
    assert ended.state is StudyState.SUCCEEDED
    trials = [each.refresh().snapshot for each in study.trials]
    diverged = [each for each in trials if each.hyperparameters["lr"] > 1]
    others = [each for each in trials if each.hyperparameters["lr"] < 1]
    assert {each.state.value for each in diverged} == {"FAILED"}
    assert [each.state_reason for each in diverged if "nan" not in each.state_reason] == []
    assert {each.state.value for each in others} <= {"SUCCEEDED", "PRUNED"}
    assert leases_of(diverged) & leases_of(others), "no bundle had trials of both kinds"
