"""Between rows and trials."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Row

from hydro.coordinator.names import StudyName
from hydro.coordinator.storage.documents import (
    artifact_of,
    changes_document,
    changes_of,
    metrics_document,
    metrics_of,
    result_of,
    retries_of,
    searched_document,
    searched_of,
)
from hydro.coordinator.storage.trial_values import Measured, NewTrial
from hydro.coordinator.trial import Measurement, Trial, TrialKind, TrialState


def new_row(study: StudyName, number: int, trial: NewTrial, revision: int) -> dict[str, Any]:
    """The row of a new trial."""
    return {
        "study": str(study),
        "number": number,
        "kind": trial.kind.value,
        "state": TrialState.PENDING.value,
        "hyperparameters": dict(trial.hyperparameters),
        "seed": trial.seed,
        "known_point": trial.known_point,
        "searched": searched_document(trial.searched),
        "schedule": changes_document(trial.schedule),
        "revision": revision,
    }


def measurement_row(study: StudyName, measured: Measured) -> dict[str, Any]:
    """The row of a measurement."""
    return {
        "study": str(study),
        "number": measured.number,
        "step": measured.measurement.step,
        "metrics": metrics_document(measured.measurement.metrics),
        "value": measured.value,
        "verdict": measured.verdict.value,
        "elapsed_seconds": measured.measurement.elapsed_seconds,
    }


def measurement_of(row: Row[Any]) -> Measurement:
    """The measurement of a row."""
    return Measurement(row.step, metrics_of(row.metrics), row.elapsed_seconds)


def trial_of(row: Row[Any], measurements: tuple[Measurement, ...] = (), log: str = "") -> Trial:
    """The trial of a row."""
    return Trial(
        name=StudyName.parse(row.study).trial(row.number),
        kind=TrialKind(row.kind),
        state=TrialState(row.state),
        hyperparameters=row.hyperparameters,
        seed=row.seed,
        create_time=row.create_time,
        revision=row.revision,
        state_reason=row.state_reason,
        measurements=measurements,
        value=row.value,
        steps=row.steps,
        device_seconds=row.device_seconds,
        checkpoint=artifact_of(row.checkpoint),
        checkpoint_steps=row.checkpoint_steps,
        failures=row.failures,
        bundle=row.bundle,
        end_time=row.end_time,
        log=log,
        known_point=row.known_point,
        searched=searched_of(row.searched),
        schedule=changes_of(row.schedule),
        changes=changes_of(row.changes),
        result=result_of(row.result),
        tags=row.tags,
        retries=retries_of(row.retries),
        lane_limit=row.lane_limit,
    )
