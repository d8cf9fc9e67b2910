"""From what lanes report to their verdicts, and what becomes of their trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hydro.coordinator.bundle import Bundle
from hydro.coordinator.names import TrialName
from hydro.coordinator.pruning.pruner import Pruner, Report
from hydro.coordinator.storage.storage import Transaction
from hydro.coordinator.study import Goal, Study
from hydro.coordinator.transition import Transition
from hydro.coordinator.trial import (
    FAIL_TRIAL,
    PAUSE_TRIAL,
    PROMOTE_TRIAL,
    PRUNE_TRIAL,
    SUCCEED_TRIAL,
    Artifact,
    Measurement,
    Trial,
    TrialKind,
    TrialState,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class LaneReport:
    """What one lane has to say. `checkpoint` holds exactly `steps` optimizer steps."""

    trial: TrialName
    steps: int
    measurement: Measurement | None = None
    checkpoint: Artifact | None = None
    log: str = ""
    failure: str = ""


_MOVES: dict[Verdict, Transition[TrialState]] = {Verdict.PAUSE: PAUSE_TRIAL, Verdict.PRUNE: PRUNE_TRIAL}


async def judge(
    tx: Transaction,
    study: Study,
    bundle: Bundle,
    pruner: Pruner,
    lanes: Sequence[Trial],
    reports: Sequence[LaneReport],
    *,
    on_slot: bool,
) -> list[tuple[TrialName, Verdict]]:
    """Stores the reports of a bundle's lanes, moves their trials, and gives a verdict for each that asks for one.

    The transaction has locked the study and renewed the lease.
    """
    running = {lane.name for lane in lanes if lane.state is TrialState.RUNNING}
    for report in reports:
        if report.trial in running:
            await tx.trials.progress(report.trial, report.steps, report.checkpoint, report.log, on_slot=on_slot)
    verdicts: dict[TrialName, Verdict] = {}
    measured: list[tuple[TrialName, Measurement]] = []
    for report in reports:
        fault = report.failure or fault_of(study, report.measurement)
        if report.trial not in running:
            verdicts[report.trial] = await _verdict_of_gone(tx, report)
        elif fault:
            verdicts[report.trial] = await _fail(tx, pruner, report, fault)
        elif report.measurement is not None:
            measured.append((report.trial, report.measurement))
    verdicts |= await _judge_measured(tx, study, bundle, pruner, measured)
    await promote(tx, study, pruner)
    asked = [report.trial for report in reports if report.measurement is not None or report.failure]
    return [(trial, verdicts[trial]) for trial in dict.fromkeys(asked)]


def fault_of(study: Study, measurement: Measurement | None) -> str:
    """Why a trial with this measurement has failed. Empty: it has not."""
    if measurement is None:
        return ""
    for name, value in measurement.metrics.items():
        if not math.isfinite(value):
            return f"metric {name!r} is {value} at step {measurement.step}"
    metric = study.spec.objective.metric
    if metric not in measurement.metrics:
        found = ", ".join(map(repr, sorted(measurement.metrics))) or "none"
        return f"the objective {metric!r} is not among the metrics at step {measurement.step}: {found}"
    return ""


async def promote(tx: Transaction, study: Study, pruner: Pruner) -> None:
    """Makes PENDING the paused trials that may go on."""
    for number in pruner.promotable():
        await tx.trials.move(study.name, [number], PROMOTE_TRIAL)
        pruner.promote(number)


async def succeed(tx: Transaction, study: Study, trial: TrialName, value: float) -> None:
    """Ends a trial that has its final objective, and makes it the study's best if it is."""
    moved = await tx.trials.move(study.name, [trial.number], SUCCEED_TRIAL)
    if not moved or (await tx.trials.get(trial)).kind is not TrialKind.SEARCH:
        return
    best = (await tx.studies.get(study.name)).best_trial
    standing = None if best is None else (await tx.trials.get(best)).value
    if standing is None or _is_better(study, value, standing):
        await tx.studies.set_best_trial(study.name, trial.number)


def _is_better(study: Study, value: float, other: float) -> bool:
    return value < other if study.spec.objective.goal is Goal.MINIMIZE else value > other


async def _verdict_of_gone(tx: Transaction, report: LaneReport) -> Verdict:
    stands = await tx.trials.measurement(report.trial, report.measurement.step) if report.measurement else None
    return Verdict.STOP if stands is None or stands[1] is Verdict.CONTINUE else stands[1]


async def _fail(tx: Transaction, pruner: Pruner, report: LaneReport, fault: str) -> Verdict:
    if report.measurement is not None:
        await tx.trials.measure(report.trial, report.measurement, None, Verdict.STOP)
    await tx.trials.move(report.trial.study, [report.trial.number], FAIL_TRIAL, fault)
    pruner.end(report.trial.number, succeeded=False)
    return Verdict.STOP


async def _judge_measured(
    tx: Transaction,
    study: Study,
    bundle: Bundle,
    pruner: Pruner,
    measured: Sequence[tuple[TrialName, Measurement]],
) -> dict[TrialName, Verdict]:
    metric = study.spec.objective.metric
    fresh, verdicts = [], {}
    for trial, measurement in measured:
        if await tx.trials.measurement(trial, measurement.step) is None:
            fresh.append((trial, measurement))
        else:
            # It runs, so the decision on this step let it go on: it lost its lease after, and came by again.
            verdicts[trial] = _by_steps(study, measurement.step)
    if bundle.plan.kind is TrialKind.TARGET:
        decided = [_by_steps(study, measurement.step) for _, measurement in fresh]
    else:
        decided = pruner.decide([Report(trial.number, each.step, each.metrics[metric]) for trial, each in fresh])
    for (trial, measurement), verdict in zip(fresh, decided, strict=True):
        value = measurement.metrics[metric]
        await tx.trials.measure(trial, measurement, value, verdict)
        verdicts[trial] = verdict
    for trial, measurement in measured:
        await _carry_out(tx, study, trial, verdicts[trial], measurement.metrics[metric])
    return verdicts


def _by_steps(study: Study, step: int) -> Verdict:
    return Verdict.STOP if 0 < study.spec.max_steps <= step else Verdict.CONTINUE


async def _carry_out(tx: Transaction, study: Study, trial: TrialName, verdict: Verdict, value: float) -> None:
    if verdict is Verdict.STOP:
        await succeed(tx, study, trial, value)
    elif verdict in _MOVES:
        await tx.trials.move(study.name, [trial.number], _MOVES[verdict])
