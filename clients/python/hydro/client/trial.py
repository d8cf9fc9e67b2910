"""Inside a command trial's program: its hyperparameters, and what it has to say.

::

    from hydro.client import trial

    lr = trial.hyperparameters["lr"]
    for step in range(1, 101):
        loss = train(lr)
        if not trial.report(step, loss):        # or {"validation_loss": loss, "accuracy": accuracy}
            save_checkpoint(trial.checkpoint_directory())
            break
    else:
        trial.finish(loss)

Started by hand, there is no trial to report to: HYDRO_DRY_RUN='{"lr": 0.1}' gives the hyperparameters, and what would
be reported is written to standard error.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import grpc

from hydro.api.type.v1 import metric_pb2
from hydro.api.worker.v1 import trial_service_pb2, trial_service_pb2_grpc
from hydro.kit.channel import open_sync_channel
from hydro.kit.errors import FailedPrecondition, FieldViolation, InvalidArgument
from hydro.kit.values import Scalar

_CALL_SECONDS = 900.0
_DRY_RUN = "HYDRO_DRY_RUN"

hyperparameters: Mapping[str, Scalar]
"""The trial's hyperparameters, with their types. Of those with conditions only the active ones."""
name: str
"""The trial's resource name."""
seed: int
"""Of the trial's random numbers."""

_ATTRIBUTES = ("hyperparameters", "name", "seed")


def report(step: int, value: float | Mapping[str, float]) -> bool:
    """Reports a measurement, and tells whether to go on. It is stored when this returns.

    The first measurement of a step stands: a program that begins again may report its steps again.

    Args:
        step: Steps done, >= 0.
        value: The study's objective, or all metrics by name with the objective among them.

    Returns:
        False: the trial is paused, pruned or over. Save what should be kept in `checkpoint_directory()`, and end.

    Raises:
        InvalidArgument: the objective is missing, or the step is negative.
        Unauthenticated: the trial goes on elsewhere, or has ended: end.
    """
    return _session().report(step, value)


def finish(value: float | None = None) -> None:
    """Ends the trial, SUCCEEDED. A program that ends well without it does the same with the last measured objective.

    Args:
        value: The final objective. None: the last measured one.
    """
    _session().finish(value)


def checkpoint_directory() -> Path:
    """Where the trial keeps what it needs to go on: the same directory whenever and wherever it is started again."""
    return _session().checkpoint_directory


class Session(Protocol):
    """What the functions above speak to."""

    hyperparameters: Mapping[str, Scalar]
    name: str
    seed: int
    checkpoint_directory: Path

    def report(self, step: int, value: float | Mapping[str, float]) -> bool:
        """See `report`."""
        ...

    def finish(self, value: float | None) -> None:
        """See `finish`."""
        ...


class TrialSession:
    """The trial that this process was started for, as its environment says."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        document = json.loads(Path(environment["HYDRO_TRIAL_FILE"]).read_text())
        self.hyperparameters: Mapping[str, Scalar] = document["hyperparameters"]
        self.name: str = document["name"]
        self.seed: int = document["seed"]
        self.checkpoint_directory = Path(environment["HYDRO_CHECKPOINT_DIRECTORY"])
        self._objective: str = document["objective"]
        self._metadata = (("authorization", f"Bearer {environment['HYDRO_TRIAL_TOKEN']}"),)
        self._channel: grpc.Channel = open_sync_channel(environment["HYDRO_TRIAL_ADDRESS"])
        self._stub = trial_service_pb2_grpc.TrialServiceStub(self._channel)

    def report(self, step: int, value: float | Mapping[str, float]) -> bool:
        """See `report`."""
        metrics = {name: float(each) for name, each in _metrics(value, self._objective).items()}
        request = trial_service_pb2.ReportMeasurementRequest(
            measurement=metric_pb2.Measurement(step=step, metrics=metrics)
        )
        answer = self._stub.ReportMeasurement(request, timeout=_CALL_SECONDS, metadata=self._metadata)
        return not answer.should_stop

    def finish(self, value: float | None) -> None:
        """See `finish`."""
        request = trial_service_pb2.FinishTrialRequest(value=None if value is None else float(value))
        self._stub.FinishTrial(request, timeout=_CALL_SECONDS, metadata=self._metadata)


class DryRun:
    """Without a trial: says what would be reported."""

    def __init__(self, given: str) -> None:
        try:
            found = json.loads(given)
        except ValueError as error:
            raise InvalidArgument.of([FieldViolation(_DRY_RUN, f"is no JSON: {error}")]) from None
        if not isinstance(found, dict):
            advice = f"is {given!r}: give an object of hyperparameters, as in " + """'{"lr": 0.1}'"""
            raise InvalidArgument.of([FieldViolation(_DRY_RUN, advice)])
        self.hyperparameters: Mapping[str, Scalar] = found
        self.name = "dry run"
        self.seed = 0
        self.checkpoint_directory = Path.cwd()
        self._say(f"hyperparameters {json.dumps(found)}")

    def report(self, step: int, value: float | Mapping[str, float]) -> bool:
        """Goes on always."""
        self._say(f"step {step} {json.dumps(dict(_metrics(value, 'objective')))}")
        return True

    def finish(self, value: float | None) -> None:
        """Says so."""
        self._say(f"finished{'' if value is None else f' {value}'}")

    def _say(self, text: str) -> None:
        sys.stderr.write(f"hydro dry run: {text}\n")


def _metrics(value: float | Mapping[str, float], objective: str) -> Mapping[str, float]:
    return value if isinstance(value, Mapping) else {objective: value}


@functools.cache
def _session() -> Session:
    environment = os.environ
    if "HYDRO_TRIAL_ADDRESS" in environment:
        return TrialSession(environment)
    if _DRY_RUN in environment:
        return DryRun(environment[_DRY_RUN])
    raise FailedPrecondition(
        "this program was not started as a trial of a study: HYDRO_TRIAL_ADDRESS is not set. To try it by hand, give "
        f"its hyperparameters: {_DRY_RUN}=" + """'{"lr": 0.1}' python train.py"""
    )


def __getattr__(attribute: str) -> Any:
    if attribute in _ATTRIBUTES:
        return getattr(_session(), attribute)
    raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
