"""One trial's hyperparameters end every worker that gets it."""

from pathlib import Path

import pytest

from hydro.client import Client, StudyState, TrialState, asha, loguniform, minimize
from hydro.client.suite.local import LocalSuite

TASKS = Path(__file__).parents[1] / "tasks"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_a_trial_that_ends_its_workers_fails_with_the_reason_and_its_mates_lose_no_retry():
    suite = LocalSuite.start({"OMP_NUM_THREADS": "1", "HYDRO_COORDINATOR_PATIENCE_SECONDS": "0.2"})
    try:
        with Client(suite.coordinator_address, tuner_address=suite.tuner_address) as client:
            study = client.create_study(
                "deadly",
                task="deadly_perceptron:DeadlyPerceptron",
                source_path=str(TASKS),
                search_space={"lr": loguniform(1e-3, 1)},
                objective=minimize("validation_loss"),
                sampler="random",
                pruner=asha(min_steps=4, max_steps=8, eta=2),
                trials=8,
                parallelism=4,
                known_points=[{"lr": 0.1}, {"lr": 0.95}, {"lr": 0.2}, {"lr": 0.05}]
                + [{"lr": 0.01 * n} for n in range(1, 5)],
                retries=1,
            )
            assert study.wait(timeout_seconds=200).state is StudyState.SUCCEEDED
            failed, *others = sorted(study.trials, key=lambda trial: trial.state is not TrialState.FAILED)
            assert failed.number == 1 and "exit code 7" in failed.state_reason
            assert failed.state_reason.startswith("its worker was lost 2 times")
            assert all(each.state is not TrialState.FAILED for each in others)
            # A loss alone is what counts, and only the deadly trial was ever alone when its worker was lost.
            assert [each.lanes for each in failed.retries][-2:] == [1, 1]
            assert all(retry.lanes > 1 for each in others for retry in each.retries)
            assert any(each.retries for each in others), "no bundle had the deadly trial beside others"
            assert "exit code 7" in failed.log
    finally:
        suite.stop()
