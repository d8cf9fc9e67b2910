"""Studies, trials and targets, against a coordinator that lives in this process."""

import pytest
import torch
from safetensors.torch import save

from hydro.api.coordinator.v1 import (
    study_pb2,
    trial_pb2,
)
from hydro.api.type.v1 import metric_pb2
from hydro.client import (
    StudyState,
    TrialPruned,
    TrialState,
    asha,
    choice,
    hyperband,
    loguniform,
    minimize,
    no_pruning,
    population,
)
from hydro.kit.artifacts import ArtifactStore
from hydro.kit.errors import FailedPrecondition, InvalidArgument, NotFound, OutOfRange

SPACE = {"lr": loguniform(1e-3, 1), "batch_size": choice([64, 128])}


def test_a_study_with_a_task_needs_a_pruner(client):
    with pytest.raises(InvalidArgument, match=r"study\.pruner: is missing; give asha"):
        client.create_study("a", task="digits:Digits", search_space=SPACE, objective=minimize("loss"))


def test_bohb_is_tpe_with_hyperband(client, studies):
    client.create_study("a", search_space=SPACE, objective=minimize("loss"), sampler="bohb", pruner=hyperband(1, 81))
    assert studies.study.sampler == study_pb2.SAMPLER_TPE
    assert studies.study.pruner.hyperband.eta == 3


@pytest.mark.parametrize("pruner", [None, asha(1, 8)])
def test_bohb_with_another_pruner_is_refused(client, pruner):
    with pytest.raises(InvalidArgument, match=r"study\.sampler: is 'bohb', which is TPE with Hyperband, with"):
        client.create_study("a", search_space=SPACE, objective=minimize("loss"), sampler="bohb", pruner=pruner)


def test_a_population_trains_together_and_takes_no_pruner(client, studies):
    given = {"task": "d:D", "source_path": "", "search_space": SPACE, "objective": minimize("loss")}
    client.create_study("a", **given, population=population(10, 100), trials=48)
    assert (studies.study.parallelism, studies.study.max_steps) == (48, 100)
    assert studies.study.population.interval_steps == 10
    with pytest.raises(InvalidArgument, match=r"study\.pruner: is given beside a population"):
        client.create_study("a", **given, population=population(10, 100), pruner=asha(1, 8))


def test_the_source_path_can_be_left_to_the_services(client, studies):
    client.create_study(
        "a", task="d:D", source_path="", search_space=SPACE, objective=minimize("loss"), pruner=asha(1, 8)
    )
    assert studies.study.task.entry_point == "d:D"
    assert studies.study.task.source_path == ""


def test_an_unknown_study_is_not_found(client):
    with pytest.raises(NotFound, match="projects/default/studies/none"):
        client.get_study("none")


def test_a_study_is_opened_again_by_its_id(client, study):
    again = client.get_study("hand")
    assert again.name == study.name
    assert again.settings == study.settings


def test_wait_returns_when_the_study_has_ended(study):
    assert study.wait().state is StudyState.SUCCEEDED


def test_wait_takes_up_a_broken_connection_where_it_broke(study, studies):
    studies.watches_to_break = 1
    study.wait()
    assert studies.resume_tokens == ["", "r1"]


def test_optimize_runs_all_trials_and_tells_their_values(study, studies):
    study.optimize(lambda trial: trial.hyperparameters["lr"])
    assert [each.value for each in studies.trials] == [0.1] * 3
    assert [each.state for each in study.trials] == [TrialState.SUCCEEDED] * 3


def test_optimize_prunes_a_trial_whose_objective_follows_the_advice(study):
    def objective(trial):
        for step in (1, 2, 3):
            if trial.report(step, 1 / step):
                raise TrialPruned
        return 0.0

    study.optimize(objective, trials=1)
    assert study.trials[0].state is TrialState.PRUNED
    assert [each.step for each in study.trials[0].measurements] == [1, 2]


def test_an_objective_that_raises_fails_its_trial_and_the_error_goes_on(study):
    with pytest.raises(ZeroDivisionError):
        study.optimize(lambda trial: 1 / 0)
    assert study.trials[0].state is TrialState.FAILED
    first, *trace = study.trials[0].state_reason.splitlines()
    assert first == "ZeroDivisionError: division by zero"
    assert "study.optimize(lambda trial: 1 / 0)" in "\n".join(trace)


def test_ask_says_when_the_study_has_no_further_trial(study):
    for _ in range(3):
        study.ask()
    with pytest.raises(OutOfRange, match="it has 3 in all"):
        study.ask()


def test_trials_of_all_pages_are_listed(study):
    for _ in range(3):
        study.ask()
    assert [each.number for each in study.trials] == [0, 1, 2]


def test_the_log_is_read_when_it_is_asked_for(study):
    assert study.ask().log == "hello"


def test_a_report_says_how_long_the_trial_has_trained_or_leaves_it_to_the_coordinator(study):
    trial = study.ask()
    trial.report(1, 0.5, elapsed_seconds=1.5)
    trial.report(2, 0.5)
    assert [each.elapsed_seconds for each in study.trials[0].measurements] == [1.5, None]


def test_a_study_without_a_best_trial_says_so(study):
    with pytest.raises(NotFound, match="has no best trial yet"):
        _ = study.best_trial


def test_the_dataframe_has_a_row_for_each_trial(study):
    study.optimize(lambda trial: trial.report(1, {"loss": 0.5, "accuracy": 0.9}) or 0.5)
    table = study.to_dataframe()
    assert list(table["value"]) == [0.5] * 3
    assert list(table["hyperparameters_batch_size"]) == [64] * 3
    assert list(table["metrics_accuracy"]) == [0.9] * 3


def test_optuna_gets_the_same_trials(study):
    study.optimize(lambda trial: trial.report(1, 0.75) or 0.5)
    exported = study.to_optuna()
    assert exported.best_value == 0.5
    assert exported.best_params == {"lr": 0.1, "batch_size": 64}
    assert exported.trials[0].intermediate_values == {1: 0.75}


def test_a_target_gives_its_metrics_and_the_plain_state_dict(study, studies, tmp_path):
    target = study.train_target(seed=2, wait=False)
    stored = ArtifactStore(tmp_path.as_uri()).write(
        "target", save({"model/layer.weight": torch.ones(2), "optimizer/layer.weight/momentum": torch.zeros(2)})
    )
    trial = studies.trials[0]
    trial.state = trial_pb2.TRIAL_STATE_SUCCEEDED
    trial.value = 0.25
    trial.measurements.append(metric_pb2.Measurement(step=8, metrics={"loss": 0.25, "accuracy": 0.98}))
    trial.checkpoint.uri, trial.checkpoint.digest = stored.uri, stored.digest
    assert target.value == 0.25
    assert target.metrics["accuracy"] == 0.98
    assert list(target.state_dict()) == ["layer.weight"]
    assert target.trial.seed == 2


def test_a_target_gets_hyperparameters_of_its_own(study):
    target = study.train_target(target_hyperparameters={"dropout": 0.1}, wait=False)
    assert target.hyperparameters["dropout"] == 0.1


def test_a_target_with_another_batch_is_asked_for_with_a_warning(study, studies):
    with pytest.warns(UserWarning, match="4 times the surrogate's samples.*rules of thumb"):
        study.train_target(batch_ratio=4, wait=False)
    assert studies.batch_ratio == 4


def test_a_target_is_trained_half_an_octave_below_the_best_rate_where_that_is_asked_for(study, studies):
    study.optimize(lambda trial: 0.5, trials=1)
    studies.study.best_trial = studies.trials[0].name
    safe = study.train_target(safety_octaves=0.5, wait=False)
    assert safe.hyperparameters["lr"] == pytest.approx(0.1 / 2**0.5)
    assert safe.hyperparameters["batch_size"] == 64
    with pytest.raises(InvalidArgument, match="safety_octaves: -1 would raise the rate"):
        study.train_target(safety_octaves=-1, wait=False)
    with pytest.raises(InvalidArgument, match="safety_octaves: 0.5 with defaults"):
        study.train_target(safety_octaves=0.5, defaults=True, wait=False)


def test_retuning_needs_a_second_training_to_compare_with(study):
    with pytest.raises(InvalidArgument, match="give 2 or more"):
        study.retune_target(trials=1)


def test_the_target_is_trained_with_the_best_rate_and_its_neighbours(study, studies):
    study.optimize(lambda trial: 0.5, trials=1)
    studies.study.best_trial = studies.trials[0].name
    studies.target_loss = lambda lr: 1.0 + (lr - 0.05) ** 2
    found = study.verify_target()
    assert sorted(found.values) == [-0.5, 0.0, 0.5] and found.best_octaves == -0.5
    assert found.regret_bound == pytest.approx((0.05**2 - (0.1 / 2**0.5 - 0.05) ** 2) / 1.0004, abs=1e-4)
    assert {each.hyperparameters["batch_size"].int_value for each in studies.trials} == {64}


def test_the_search_on_the_target_is_a_study_of_its_own(study, studies):
    study.optimize(lambda trial: 0.5, trials=1)
    studies.study.best_trial = studies.trials[0].name
    found = study.search_target(trials=4)
    assert str(found.name).endswith("/studies/hand-target")
    assert (studies.study.surrogate_width, studies.study.max_trials) == (1.0, 4)
    assert found.settings.search_space["lr"] == loguniform(0.05, 0.2)


def test_a_failed_target_says_why(study, studies):
    target = study.train_target(wait=False)
    studies.trials[0].state = trial_pb2.TRIAL_STATE_FAILED
    studies.trials[0].state_reason = "out of memory"
    with pytest.raises(FailedPrecondition, match="FAILED: out of memory"):
        target.wait()


def test_devices_are_listed(client):
    assert [each.name for each in client.list_devices()] == ["devices/local-cpu-0"]


def test_a_study_that_drives_itself_has_no_limit_of_steps_unless_asked(client, studies, study):
    assert studies.study.max_steps == 0
    client.create_study("b", search_space=SPACE, objective=minimize("loss"), pruner=no_pruning(10))
    assert studies.study.max_steps == 10
