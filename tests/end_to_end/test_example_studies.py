"""Studies through the whole suite: those beside the examples, smaller, so that they end in a minute; architectures."""

from pathlib import Path

import pytest

from hydro.client import Client, StudyState, TrialState, asha, choice, integer, loguniform, minimize, surrogate
from hydro.client.study_file import read_study
from hydro.client.suite.local import LocalSuite

EXAMPLES = Path(__file__).parents[2] / "examples"
TASKS = Path(__file__).with_name("tasks")
SMALL = {"trials": 16, "parallelism": 16, "pruner": asha(min_steps=4, max_steps=8, eta=2)}
TARGET_PARAMETERS = {"digits": 400_000, "char_lm": 400_000}
NOT_TRANSFERRED = {"digits": set(), "char_lm": {"dropout"}}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def client():
    suite = LocalSuite.start({"OMP_NUM_THREADS": "1"})
    with Client(suite.coordinator_address, tuner_address=suite.tuner_address) as client:
        yield client
    suite.stop()


@pytest.mark.parametrize("example", ["digits", "char_lm"])
def test_an_example_is_shrunk_fused_searched_and_transferred(client, example) -> None:
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
