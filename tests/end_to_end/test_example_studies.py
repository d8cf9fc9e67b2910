"""Studies through the whole suite: those beside the examples, smaller, so that they end in a minute, and others."""

import re
from pathlib import Path

import pytest

from end_to_end.patience import wait_until
from end_to_end.shell import hydro
from hydro.client import (
    Client,
    StudyState,
    TrialState,
    asha,
    choice,
    constant,
    integer,
    loguniform,
    minimize,
    no_pruning,
    surrogate,
)
from hydro.client.study_file import read_study
from hydro.client.suite.local import LocalSuite

EXAMPLES = Path(__file__).parents[2] / "examples"
TASKS = Path(__file__).with_name("tasks")
SMALL = {"trials": 16, "parallelism": 16, "pruner": asha(min_steps=4, max_steps=8, eta=2)}
TARGET_PARAMETERS = {"digits": 400_000, "char_lm": 400_000}
NOT_TRANSFERRED = {"digits": set(), "char_lm": {"dropout"}}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def suite():
    suite = LocalSuite.start({"OMP_NUM_THREADS": "1"})
    yield suite
    suite.stop()


@pytest.fixture(scope="module")
def client(suite):
    with Client(suite.coordinator_address, tuner_address=suite.tuner_address) as client:
        yield client


@pytest.mark.parametrize("example", ["digits", "char_lm"])
def test_an_example_is_shrunk_fused_searched_reproduced_and_transferred(client, suite, example) -> None:
    study = client.create_study(**{**read_study(EXAMPLES / f"{example}.yaml"), **SMALL})
    ended = study.wait()
    assert ended.state is StudyState.SUCCEEDED, ended.state_reason
    assert ended.warnings == ()
    assert ended.statistics.max_fusion_count > 1
    assert study.surrogate.width == 1 / 8
    assert study.surrogate.parameters < study.surrogate.target_parameters / 20
    best = study.best_trial
    assert (
        set(best.hyperparameters)
        == set(read_study(EXAMPLES / f"{example}.yaml")["search_space"]) - (NOT_TRANSFERRED[example])
    )
    assert "as one program" in best.log
    reproduced = hydro(suite, "trial", "reproduce", f"{study.name.study}/{best.number}")
    worst = re.search(r"^largest difference: (\S+) .*, over (\d+) values$", reproduced, re.MULTILINE)
    assert float(worst[1]) < 1e-3 and int(worst[2]) >= len(best.measurements)
    target = study.train_target()
    assert {each.hyperparameter for each in target.transfers} == set(study.settings.search_space)
    if NOT_TRANSFERRED[example]:
        assert study.retune_target(trials=2).value <= target.value + 1e-6
    weights = sum(tensor.numel() for name, tensor in target.state_dict().items() if "running" not in name)
    assert weights > TARGET_PARAMETERS[example]


ATTENDING = {"mixing": "attention", "heads": 4, "layers": 2, "length": 16}
ARCHITECTURES = [
    {"mixing": "attention", "heads": 2, "layers": 1, "length": 8, "lr": 0.01},
    *({**ATTENDING, "lr": lr} for lr in (0.005, 0.01, 0.02, 0.03)),
    {"mixing": "perceptron", "layers": 2, "length": 8, "lr": 0.01},
]


def test_architectures_are_searched_like_any_other_hyperparameter(client) -> None:
    space = {
        "lr": loguniform(1e-3, 1e-1),
        "mixing": choice(["perceptron", "attention"]),
        "heads": choice([2, 4]).when(mixing=["attention"]),
        "layers": integer(1, 2),
        "length": choice([8, 16]),
    }
    study = client.create_study(
        "architectures",
        task="shaped_transformer:ShapedTransformer",
        source_path=str(TASKS),
        search_space=space,
        objective=minimize("validation_loss"),
        known_points=ARCHITECTURES,
        pruner=asha(min_steps=2, max_steps=4, eta=2),
        surrogate=surrogate(width=1 / 2),
        trials=6,
        parallelism=6,
    )
    ended = study.wait(timeout_seconds=300)
    assert ended.state is StudyState.SUCCEEDED, ended.state_reason
    trials = study.trials
    assert [dict(each.hyperparameters) for each in trials] == ARCHITECTURES
    assert {each.state for each in trials} <= {TrialState.SUCCEEDED, TrialState.PRUNED}
    assert all(each.measurements and ("heads" in each.hyperparameters) is attends(each) for each in trials)
    # Those of one architecture are lanes of one program.
    assert all("as one program" in each.log for each in trials[1:5])
    assert ended.statistics.max_fusion_count >= 2
    # The target has the architecture of the trial, in full width.
    target = study.train_target(trials[1].hyperparameters)
    weights = target.state_dict()
    assert weights["position"].shape == (16, 32) and "blocks.1.projection.weight" in weights
    assert {each.kind.value for each in target.transfers if each.hyperparameter != "lr"} == {"TRANSFERRED"}


def attends(trial) -> bool:
    return trial.hyperparameters["mixing"] == "attention"


def start_slow(client, study_id, batch_seconds):
    return client.create_study(
        study_id,
        task="slow_perceptron:SlowPerceptron",
        source_path=str(TASKS),
        search_space={"lr": loguniform(1e-2, 1), "batch_seconds": constant(batch_seconds)},
        objective=minimize("validation_loss"),
        sampler="random",
        pruner=no_pruning(40, interval_steps=4),
        surrogate=surrogate(width=1 / 2),
        trials=4,
        parallelism=4,
    )


def losses(study):
    return {
        (trial.number, each.step): each.metrics["validation_loss"]
        for trial in study.trials
        for each in trial.measurements
    }


def test_a_fused_study_paused_in_mid_trial_ends_as_one_that_was_not(client) -> None:
    study = start_slow(client, "paused", 0.1)
    wait_until(lambda: {(number, 8) for number in range(4)} <= losses(study).keys(), "all are measured at step 8")
    study.pause()
    wait_until(lambda: not any(device.lease for device in client.list_devices()), "the devices are free")
    assert study.state is StudyState.PAUSED
    trials, before = study.trials, losses(study)
    # Each is kept where it was, which is further than the start and not the end.
    assert {each.state for each in trials} == {TrialState.PENDING}
    assert all(each.snapshot.checkpoint and 8 <= each.steps < 40 for each in trials)
    study.resume()
    assert study.wait(timeout_seconds=200).state is StudyState.SUCCEEDED
    assert study.statistics.max_fusion_count > 1
    after = losses(study)
    assert before.items() <= after.items()
    assert {each.state for each in study.trials} == {TrialState.SUCCEEDED}
    straight = start_slow(client, "straight", 0.0)
    straight.wait(timeout_seconds=200)
    assert after == pytest.approx(losses(straight), rel=1e-5)
    assert len(after) == 4 * 40 / 4
