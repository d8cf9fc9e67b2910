"""Trials are logged by the real MLflow and the real Weights & Biases, offline, where those are installed."""

import importlib.util
import warnings

import pytest

from hydro.client import TrialPruned

HAS_MLFLOW = importlib.util.find_spec("mlflow") is not None
HAS_WANDB = importlib.util.find_spec("wandb") is not None


def objective(trial):
    for step in (1, 2):
        trial.report(step, {"loss": 1.0 / step, "accuracy": 0.5 * step})
    if trial.number == 1:
        raise TrialPruned
    if trial.number == 2:
        raise ValueError("no")
    return {"loss": 0.25, "memory": 3.0}


def test_each_trial_is_logged_once_whoever_trains_it_until_the_study_ends(study):
    study.optimize(objective, catch=(ValueError,))
    seen = []
    study.log_to(lambda of, trial: seen.append((trial.number, trial.state.name, len(trial.measurements))))
    assert seen == [(0, "SUCCEEDED", 2), (1, "PRUNED", 2), (2, "FAILED", 2)]


@pytest.mark.skipif(not HAS_MLFLOW, reason="mlflow is not installed: pip install 'hydro-client[mlflow]'")
@pytest.mark.filterwarnings("ignore")
def test_mlflow_gets_a_run_for_each_trial_once(study, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracking import MlflowClient

    from hydro.client.callbacks import MlflowCallback

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log = MlflowCallback(tmp_path.as_uri())
        study.optimize(objective, catch=(ValueError,), callbacks=[log])
        log(study, study.trials[0])
        client = MlflowClient(tmp_path.as_uri())
        experiment = client.get_experiment_by_name(str(study.name))
        runs = {each.data.tags["hydro.trial"]: each for each in client.search_runs([experiment.experiment_id])}
        first = runs[str(study.trials[0].name)]
        history = [(each.step, each.value) for each in client.get_metric_history(first.info.run_id, "accuracy")]
    assert len(runs) == 3
    assert first.data.params == {"lr": "0.1", "batch_size": "64"}
    assert first.data.metrics == {"loss": 0.25, "accuracy": 1.0, "memory": 3.0}
    assert history == [(1, 0.5), (2, 1.0)]
    states = [
        (runs[str(each.name)].data.tags["hydro.state"], runs[str(each.name)].info.status) for each in study.trials
    ]
    assert states == [("SUCCEEDED", "FINISHED"), ("PRUNED", "FINISHED"), ("FAILED", "FAILED")]


@pytest.mark.skipif(not HAS_WANDB, reason="wandb is not installed: pip install 'hydro-client[wandb]'")
@pytest.mark.filterwarnings("ignore")
def test_wandb_gets_a_run_for_each_trial_offline(study, tmp_path):
    from hydro.client.callbacks import WandbCallback

    study.optimize(objective, trials=1, callbacks=[WandbCallback(mode="offline", dir=str(tmp_path))])
    (run,) = (tmp_path / "wandb").glob("offline-run-*")
    assert str(study.trials[0].name).replace("/", "-") in run.name
    assert next(run.glob("*.wandb")).stat().st_size > 0
