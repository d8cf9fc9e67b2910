"""Trials that their caller drives: ask and tell, for studies without a task."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from hydro.coordinator.asking import Asking
from hydro.coordinator.bell import Bell
from hydro.coordinator.judgement import fault_of, succeed
from hydro.coordinator.names import StudyName, TrialName
from hydro.coordinator.pruners import Pruners
from hydro.coordinator.pruning.pruner import Report
from hydro.coordinator.storage.storage import Measured, Result, Storage, Transaction
from hydro.coordinator.study import Study
from hydro.coordinator.trial import (
    FAIL_TRIAL,
    MAX_STEPS,
    PRUNE_TRIAL,
    SUCCEED_TRIAL,
    Measurement,
    Trial,
    TrialState,
    Verdict,
)
from hydro.kit.errors import AlreadyExists, FailedPrecondition, FieldViolation, InvalidArgument


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a trial ended: with its final objective, with the reason of its failure, or pruned (neither)."""

    value: float | None = None
    failure: str = ""


class DrivenTrials:
    """Suggests trials, takes their measurements, and ends them."""

    def __init__(self, storage: Storage, asking: Asking, pruners: Pruners, bell: Bell) -> None:
        self._storage = storage
        self._asking = asking
        self._pruners = pruners
        self._bell = bell

    async def suggest(self, study: StudyName, count: int, request_id: str) -> Sequence[Trial]:
        """Gives new trials in RUNNING, fewer than asked for at the study's limits."""
        if count < 1:
            raise InvalidArgument.of([FieldViolation("count", f"is {count}: give 1 or more")])
        _refuse_task(await self._storage.run(lambda tx: tx.studies.get(study)))
        return await self._asking.suggest(study, count, request_id)

    async def measure(self, name: TrialName, measurement: Measurement) -> bool:
        """Stores a measurement, and gives whether the trial should end.

        Raises:
            AlreadyExists: VALUE_CONFLICT, when another measurement of the step stands.
            FailedPrecondition: WRONG_STATE, when the trial has ended.
        """
        if not 0 <= measurement.step <= MAX_STEPS:
            description = f"is {measurement.step}: give 0 to {MAX_STEPS}"
            raise InvalidArgument.of([FieldViolation("measurement.step", description)])
        return await self._decide(name.study, lambda tx, study: self._measure(tx, study, name, measurement))

    async def complete(self, name: TrialName, outcome: Outcome) -> Trial:
        """Ends a trial; the same outcome again is fine.

        Raises:
            FailedPrecondition: WRONG_STATE, when it has ended otherwise.
        """
        return await self._decide(name.study, lambda tx, study: self._complete(tx, study, name, outcome))

    async def _decide(self, name: StudyName, work: Callable[[Transaction, Study], Awaitable[Result]]) -> Result:
        async def locked(tx: Transaction) -> Result:
            study = await tx.studies.lock(name)
            _refuse_task(study)
            return await work(tx, study)

        study = await self._storage.run(lambda tx: tx.studies.get(name))
        async with self._pruners.lock(name):
            try:
                result = await self._storage.run(locked)
            except BaseException:
                self._pruners.drop(study)
                raise
        self._bell.ring()
        return result

    async def _measure(self, tx: Transaction, study: Study, name: TrialName, measurement: Measurement) -> bool:
        for stands in (await tx.trials.standing(study.name, [(name.number, measurement.step)])).values():
            return _again(name, measurement, stands)
        trial = await tx.trials.get(name)
        if trial.state is not TrialState.RUNNING:
            raise FailedPrecondition(f"{name} is {trial.state.name}: it takes no measurement any more")
        pruner = await self._pruners.of(tx, study)
        fault = fault_of(study, measurement)
        if fault:
            await tx.trials.measure(study.name, [Measured(name.number, measurement, None, Verdict.STOP)])
            await tx.trials.move(study.name, [name.number], FAIL_TRIAL, fault)
            pruner.end(name.number, succeeded=False)
            return True
        value = measurement.metrics[study.spec.objective.metric]
        (verdict,) = pruner.decide([Report(name.number, measurement.step, value)])
        await tx.trials.measure(study.name, [Measured(name.number, measurement, value, verdict)])
        return verdict is not Verdict.CONTINUE

    async def _complete(self, tx: Transaction, study: Study, name: TrialName, outcome: Outcome) -> Trial:
        trial = await tx.trials.get(name)
        if trial.state.has_ended:
            return _ended_so(trial, outcome)
        if outcome.value is not None and math.isfinite(outcome.value):
            if not SUCCEED_TRIAL.allows(trial.state):
                raise SUCCEED_TRIAL.refusal(name, trial.state)
            await tx.trials.set_value(name, outcome.value)
            await succeed(tx, study, name, outcome.value)
        elif outcome.value is not None or outcome.failure:
            reason = outcome.failure or f"the objective is {outcome.value}"
            await tx.trials.move(study.name, [name.number], FAIL_TRIAL, reason)
        else:
            await tx.trials.move(study.name, [name.number], PRUNE_TRIAL)
        (await self._pruners.of(tx, study)).end(name.number, succeeded=outcome.value is not None)
        return await tx.trials.get(name)


def _refuse_task(study: Study) -> None:
    if study.spec.task is not None:
        raise FailedPrecondition(f"{study.name} has a task: its trials are trained by workers, not by a caller")


def _again(name: TrialName, measurement: Measurement, stands: Measured) -> bool:
    first = stands.measurement.metrics
    # repr, because NaN is not equal to itself.
    if repr(sorted(first.items())) != repr(sorted(measurement.metrics.items())):
        raise AlreadyExists(
            f"{name} has other metrics at step {measurement.step}, and the first ones stand: {dict(first)}",
            reason="VALUE_CONFLICT",
        )
    return stands.verdict is not Verdict.CONTINUE


def _ended_so(trial: Trial, outcome: Outcome) -> Trial:
    if outcome.value is not None and math.isfinite(outcome.value):
        is_same = trial.state is TrialState.SUCCEEDED and trial.value == outcome.value
    elif outcome.value is not None or outcome.failure:
        is_same = trial.state is TrialState.FAILED
    else:
        is_same = trial.state is TrialState.PRUNED
    if not is_same:
        raise FailedPrecondition(f"{trial.name} has ended: it is {trial.state.name}, value {trial.value}")
    return trial
