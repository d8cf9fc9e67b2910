"""The studies beside the examples, from their files through the whole suite; smaller, so that they end in a minute."""

from pathlib import Path

import pytest

from hydro.client import Client, StudyState, asha
from hydro.client.study_file import read_study
from hydro.client.suite.local import LocalSuite

EXAMPLES = Path(__file__).parents[2] / "examples"
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
