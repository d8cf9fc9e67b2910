"""Workers are lost in the middle of a bundle: to one trial's hyperparameters, or under a whole population."""

import pytest

from end_to_end.history import check_history
from hydro.client import StudyState, TrialState, asha, constant, loguniform, minimize, population, surrogate

from .watcher import Watcher

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
MEMBERS, ROUND_STEPS, STEPS = 4, 10, 40


def test_a_trial_that_ends_its_workers_fails_with_the_reason_and_its_mates_lose_no_retry(lasting_suite, tasks):
    study = lasting_suite.client.create_study(
        "deadly",
        task="deadly_perceptron:DeadlyPerceptron",
        source_path=tasks,
        search_space={"lr": loguniform(1e-3, 1)},
        objective=minimize("validation_loss"),
        sampler="random",
        pruner=asha(min_steps=4, max_steps=8, eta=2),
        trials=8,
        parallelism=4,
        known_points=[{"lr": 0.1}, {"lr": 0.95}, {"lr": 0.2}, {"lr": 0.05}] + [{"lr": 0.01 * n} for n in range(1, 5)],
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


def start_population(suite, tasks, study_id, batch_seconds):
    return suite.client.create_study(
        study_id,
        task="slow_perceptron:SlowPerceptron",
        source_path=tasks,
        search_space={"lr": loguniform(1e-3, 1), "batch_seconds": constant(batch_seconds)},
        objective=minimize("validation_loss"),
        sampler="random",
        population=population(ROUND_STEPS, STEPS, quantile=0.25),
        surrogate=surrogate(width=0.5),
        trials=MEMBERS,
        seed=1,
    )


def histories(study):
    """Who was trained with what, whose weights it took when, and when it was measured."""
    return {
        trial.number: (
            [(each.step, each.hyperparameters["lr"], each.trial, each.parent) for each in trial.schedule],
            [(each.step, each.hyperparameters["lr"], each.parent) for each in trial.changes],
            [each.step for each in trial.measurements],
        )
        for trial in study.trials
    }


def losses(study):
    return {
        (trial.number, each.step): each.metrics["validation_loss"]
        for trial in study.trials
        for each in trial.measurements
    }


def test_a_population_whose_worker_is_killed_ends_as_one_whose_worker_was_not(lasting_suite, tasks, wait):
    lasting_suite.sql("TRUNCATE audit")
    study = start_population(lasting_suite, tasks, "broken", 0.1)
    watcher = Watcher(study)
    wait(lambda: len(watcher.measurements) >= MEMBERS, "the first round is measured")
    (lease,) = lasting_suite.leases()
    for worker in lasting_suite.workers():
        lasting_suite.kill(worker)
    assert study.snapshot().state is StudyState.SEARCHING
    watcher.wait()

    assert study.snapshot().state is StudyState.SUCCEEDED
    assert lease["fencing_token"] in [each["fencing_token"] for each in lasting_suite.leases("EXPIRED")]
    events = lasting_suite.sql("SELECT * FROM audit ORDER BY id")
    assert check_history(events) == MEMBERS
    assert sum(each["kind"] == "measurement" for each in events) == MEMBERS * STEPS // ROUND_STEPS
    assert {number: len(told) for number, told in watcher.ends.items()} == dict.fromkeys(range(MEMBERS), 1)
    assert sum(len(trial.changes) - 1 for trial in study.trials) == STEPS // ROUND_STEPS - 1

    undisturbed = start_population(lasting_suite, tasks, "undisturbed", 0.0)
    undisturbed.wait(timeout_seconds=200)
    assert histories(study) == histories(undisturbed)
    assert losses(study) == pytest.approx(losses(undisturbed), rel=1e-5)
