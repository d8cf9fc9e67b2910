"""Callbacks that log a study's trials elsewhere: each is called with the study and a trial that has ended.

`Study.optimize(..., callbacks=[...])` calls them for the trials of its loop, `Study.log_to(...)` for every trial of a
study, whoever trains it. Any function of a study and a trial is one; those here log to MLflow and to Weights & Biases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from hydro.client.objectives import Objective
from hydro.client.snapshots import TrialKind, TrialState
from hydro.client.trials import Trial

if TYPE_CHECKING:
    from hydro.client.study import Study


class TrialCallback(Protocol):
    """What is called for each trial that has ended."""

    def __call__(self, study: Study, trial: Trial, /) -> object:
        """Logs the trial."""


def follow_trials(study: Study, callbacks: Sequence[TrialCallback]) -> None:
    """Calls them once for each search trial that has ended, until the study has."""
    logged: set[int] = set()
    for change in study.changes():
        for snapshot in change.trials:
            number = snapshot.name.number
            if snapshot.kind is not TrialKind.SEARCH or not snapshot.state.has_ended or number in logged:
                continue
            logged.add(number)
            # A change carries the last measurement alone.
            trial = study.get_trial(number)
            for callback in callbacks:
                callback(study, trial)


class MlflowCallback:
    """Logs each trial as a run of MLflow: parameters, metrics by step, states as tags.

    A trial that has a run already, from an earlier call, is not logged again. Needs mlflow
    (`pip install "hydro-client[mlflow]"`; mlflow-skinny is enough).

    Args:
        tracking_uri: MLflow's store. None: as MLflow itself finds it.
        experiment: Name of the experiment. None: the study's resource name.
    """

    def __init__(self, tracking_uri: str | None = None, experiment: str | None = None) -> None:
        from mlflow.tracking import MlflowClient

        self._client: Any = MlflowClient(tracking_uri)
        self._experiment = experiment

    def __call__(self, study: Study, trial: Trial, /) -> None:
        """Logs the trial."""
        from mlflow.entities import Metric, Param

        experiment = self._experiment_id(self._experiment or str(study.name))
        if self._client.search_runs([experiment], f"tags.`hydro.trial` = '{trial.name}'", max_results=1):
            return
        start, end = trial.snapshot.create_time, trial.snapshot.end_time
        began = _milliseconds(start.timestamp() if start else 0.0)
        ended = _milliseconds(end.timestamp() if end else 0.0)
        run = self._client.create_run(
            experiment, start_time=began, tags=_tags(trial), run_name=f"{study.name.study}-{trial.number}"
        ).info.run_id
        self._client.log_batch(
            run,
            metrics=[Metric(name, value, ended, step) for step, name, value in logged_metrics(trial)],
            params=[Param(name, str(value)) for name, value in trial.hyperparameters.items()],
        )
        status = "FINISHED" if trial.state in (TrialState.SUCCEEDED, TrialState.PRUNED) else "FAILED"
        self._client.set_terminated(run, status, end_time=ended)

    def _experiment_id(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        return str(found.experiment_id if found is not None else self._client.create_experiment(name))


class WandbCallback:
    """Logs each trial as a run of Weights & Biases, of the group of its study.

    A run's id is its trial's name: one that is logged again replaces itself. Needs wandb
    (`pip install "hydro-client[wandb]"`).

    Args:
        project: The project there. None: the study's project.
        settings: More for `wandb.init`, such as `mode="offline"` or `dir`.
    """

    def __init__(self, project: str | None = None, **settings: Any) -> None:
        import wandb

        self._wandb: Any = wandb
        self._project = project
        self._settings = settings

    def __call__(self, study: Study, trial: Trial, /) -> None:
        """Logs the trial."""
        run = self._wandb.init(
            project=self._project or study.name.project,
            group=study.name.study,
            name=f"{study.name.study}-{trial.number}",
            id=str(trial.name).replace("/", "-"),
            config=dict(trial.hyperparameters),
            tags=[trial.state.name.lower()],
            reinit="create_new",
            **self._settings,
        )
        steps: dict[int, dict[str, float]] = {}
        for step, name, value in logged_metrics(trial):
            steps.setdefault(step, {})[name] = value
        for step, metrics in sorted(steps.items()):
            run.log(metrics, step=step)
        run.summary.update(_tags(trial))
        run.finish(exit_code=0 if trial.state in (TrialState.SUCCEEDED, TrialState.PRUNED) else 1)


def logged_metrics(trial: Trial) -> list[tuple[int, str, float]]:
    """(step, metric, value) of every measurement, and of the trial's end at its last step."""
    found = {(each.step, name): value for each in trial.measurements for name, value in each.metrics.items()}
    last = max((each.step for each in trial.measurements), default=trial.steps)
    ended = {**_objectives_at_end(trial.objectives, trial.values), **trial.snapshot.metrics}
    found |= {(last, name): value for name, value in ended.items()}
    return [(step, name, value) for (step, name), value in sorted(found.items())]


def _objectives_at_end(objectives: Sequence[Objective], values: Sequence[float]) -> dict[str, float]:
    return {objective.metric: value for objective, value in zip(objectives, values, strict=False)}


def _tags(trial: Trial) -> dict[str, str]:
    tags = {"hydro.trial": str(trial.name), "hydro.state": trial.state.name, "hydro.seed": str(trial.seed)}
    if trial.feasible is not None:
        tags["hydro.feasible"] = str(trial.feasible)
    if trial.state_reason:
        tags["hydro.state_reason"] = trial.state_reason[:500]
    return tags


def _milliseconds(seconds: float) -> int:
    return int(1000 * seconds)
