"""A trial that has not ended, in its study's memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from hydro.coordinator.names import StudyName
from hydro.coordinator.storage.driven_storage import DrivenTrial, StoredTrial
from hydro.coordinator.storage.trial_values import Measured
from hydro.coordinator.trial import Measurement, Result, Retry, TrialState, Verdict
from hydro.kit.errors import AlreadyExists, FailedPrecondition


@dataclass(slots=True)
class OpenTrial:
    """A trial that runs, waits for another caller, or has ended in a commit that is not done yet."""

    started: DrivenTrial
    create_time: datetime | None = None
    """None until the commit that starts it is done: nobody knows the trial before."""
    given_time: datetime | None = None
    """When its caller was given it."""
    state: TrialState = TrialState.RUNNING
    state_reason: str = ""
    value: float | None = None
    steps: int = 0
    measured: dict[int, Measured] = field(default_factory=dict)
    end_time: datetime | None = None
    revision: int = 0
    result: Result | None = None
    lost_runs: int = 0
    retries: tuple[Retry, ...] = ()

    @property
    def last_metrics(self) -> Mapping[str, float]:
        """Those of its last measurement."""
        return self.measured[max(self.measured)].measurement.metrics if self.measured else {}

    @classmethod
    def restored(cls, stored: StoredTrial) -> Self:
        """The trial as the database has it, but for what it has measured."""
        # When it was given again is not kept: not before its last caller was lost.
        given_time = stored.retries[-1].time if stored.retries else stored.create_time
        return cls(
            stored.started,
            stored.create_time,
            given_time,
            stored.state,
            value=stored.value,
            steps=stored.steps,
            revision=stored.revision,
            result=stored.result,
            lost_runs=stored.lost_runs,
            retries=stored.retries,
        )


def should_stop(measured: Measured) -> bool:
    """Whether the trial ends before its time, or has failed. One that is trained to the end has a value to be told."""
    return measured.value is None or measured.verdict in (Verdict.PAUSE, Verdict.PRUNE)


def should_stop_again(study: StudyName, stands: Measured, measurement: Measurement, lost_runs: int) -> bool:
    """The answer to a measurement that stands already. Raises AlreadyExists when another one does.

    A trial that was given again measures the same steps once more: then the first one's answer is given.
    """
    first = stands.measurement.metrics
    # repr, because NaN is not equal to itself.
    if not lost_runs and repr(sorted(first.items())) != repr(sorted(measurement.metrics.items())):
        raise AlreadyExists(
            f"{study.trial(stands.number)} has other metrics at step {measurement.step}, and the first ones stand: "
            f"{dict(first)}",
            reason="VALUE_CONFLICT",
        )
    return should_stop(stands)


def no_measurement_any_more(study: StudyName, number: int, state: TrialState) -> FailedPrecondition:
    """The error for a measurement of a trial that does not run."""
    return FailedPrecondition(f"{study.trial(number)} is {state.name}: it takes no measurement any more")
