"""From what lanes report to their verdicts, and what becomes of their trials."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hydro.coordinator.bundle import Bundle
from hydro.coordinator.evolution.evolve import evolve
from hydro.coordinator.names import TrialName
from hydro.coordinator.objectives import is_plain, rank_of, result_of, stored_result, wanted_metrics
from hydro.coordinator.pruning.pruner import Pruner, Report
from hydro.coordinator.storage.storage import Transaction
from hydro.coordinator.storage.trial_values import Measured, Progress
from hydro.coordinator.study import Study
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
    finished: bool = False
    """It has come to its own end. `value` is its final objective; None: the last measured one.

    With a failure: this run has measured nothing, and the trial fails unless a run before has.
    """
    value: float | None = None

    @property
    def asks(self) -> bool:
        """Whether it wants a verdict."""
        return self.measurement is not None or bool(self.failure) or self.finished


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

    The transaction has locked the study and renewed the lease. The lanes have the device seconds of this message.
    """
    running = {lane.name for lane in lanes if lane.state is TrialState.RUNNING}
    own = [report for report in reports if report.trial in running]
    steps = [Progress(each.trial.number, each.steps, each.checkpoint, each.log) for each in own]
    await tx.trials.progress(study.name, steps, on_slot=on_slot)
    stands = await tx.trials.standing(study.name, _keys(reports))
    verdicts = {each.trial: _verdict_of_gone(each, stands) for each in reports if each.trial not in running}
    spent = {lane.name: lane.device_seconds for lane in lanes}
    measured = []
    for report in own:
        if report.finished:
            verdicts[report.trial] = await _finish(tx, study, pruner, report)
        elif fault := report.failure or fault_of(study, report.measurement):
            verdicts[report.trial] = await _fail(tx, pruner, report, fault)
        elif report.measurement is not None:
            measured.append((report.trial, replace(report.measurement, elapsed_seconds=spent[report.trial])))
    verdicts |= await _judge_measured(tx, study, bundle, pruner, measured, stands)
    await promote(tx, study, pruner)
    asked = [report.trial for report in reports if report.asks]
    return [(trial, verdicts[trial]) for trial in dict.fromkeys(asked)]


Standing = Mapping[tuple[int, int], Measured]


def _keys(reports: Sequence[LaneReport]) -> list[tuple[int, int]]:
    return [(each.trial.number, each.measurement.step) for each in reports if each.measurement is not None]


def fault_of(study: Study, measurement: Measurement | None) -> str:
    """Why a trial with this measurement has failed. Empty: it has not."""
    if measurement is None:
        return ""
    for name, value in measurement.metrics.items():
        if not math.isfinite(value):
            return f"metric {name!r} is {value} at step {measurement.step}"
    spec = study.spec
    # Callers may tell what else is wanted at the end.
    wanted = (spec.objective.metric,) if spec.is_driven else wanted_metrics(spec)
    for metric in wanted:
        if metric not in measurement.metrics:
            role = "objective" if any(metric == each.metric for each in spec.objectives) else "constrained"
            found = ", ".join(map(repr, sorted(measurement.metrics))) or "none"
            return f"the {role} {metric!r} is not among the metrics at step {measurement.step}: {found}"
    return ""


async def promote(tx: Transaction, study: Study, pruner: Pruner) -> None:
    """Makes PENDING the paused trials that may go on."""
    for number in pruner.promotable():
        await tx.trials.move(study.name, [number], PROMOTE_TRIAL)
        pruner.promote(number)


async def succeed(tx: Transaction, study: Study, trial: TrialName, metrics: Mapping[str, float]) -> None:
    """Ends a trial that was measured to the end, and makes it the study's best if it is."""
    moved = await tx.trials.move(study.name, [trial.number], SUCCEED_TRIAL)
    if not moved or (await tx.trials.get(trial)).kind is not TrialKind.SEARCH:
        return
    spec, result = study.spec, result_of(study.spec, metrics)
    if not is_plain(spec):
        await tx.trials.put_result(trial, result)
    best = (await tx.studies.get(study.name)).best_trial
    standing = None if best is None else await tx.trials.get(best)
    if standing is None or rank_of(spec.goals, result) < rank_of(
        spec.goals, stored_result(spec, standing.value, standing.result)
    ):
        await tx.studies.set_best_trial(study.name, trial.number)


def _verdict_of_gone(report: LaneReport, stands: Standing) -> Verdict:
    key = (report.trial.number, report.measurement.step if report.measurement else -1)
    verdict = stands[key].verdict if key in stands else Verdict.STOP
    return Verdict.STOP if verdict is Verdict.CONTINUE else verdict


async def _fail(tx: Transaction, pruner: Pruner, report: LaneReport, fault: str) -> Verdict:
    number, study = report.trial.number, report.trial.study
    if report.measurement is not None:
        await tx.trials.measure(study, [Measured(number, report.measurement, None, Verdict.STOP)])
    await tx.trials.move(study, [number], FAIL_TRIAL, fault)
    pruner.end(number, succeeded=False)
    return Verdict.STOP


async def _finish(tx: Transaction, study: Study, pruner: Pruner, report: LaneReport) -> Verdict:
    last = (await tx.trials.get(report.trial)).measurements[-1:]
    if report.failure and not last:
        return await _fail(tx, pruner, report, report.failure)
    metrics = dict(last[0].metrics) if last else {}
    if report.value is not None:
        metrics[study.spec.objective.metric] = report.value
    fault = fault_of(study, Measurement(last[0].step if last else 0, metrics))
    if fault:
        return await _fail(tx, pruner, report, f"at its end, {fault}")
    await tx.trials.set_value(report.trial, metrics[study.spec.objective.metric])
    pruner.end(report.trial.number, succeeded=True)
    await succeed(tx, study, report.trial, metrics)
    return Verdict.STOP


async def _judge_measured(
    tx: Transaction,
    study: Study,
    bundle: Bundle,
    pruner: Pruner,
    reported: Sequence[tuple[TrialName, Measurement]],
    stands: Standing,
) -> dict[TrialName, Verdict]:
    metric = study.spec.objective.metric
    fresh = [(trial, each) for trial, each in reported if (trial.number, each.step) not in stands]
    if bundle.plan.kind is TrialKind.TARGET:
        decided = [_by_steps(study, each.step) for _, each in fresh]
    else:
        decided = pruner.decide([_report(trial, each, metric) for trial, each in fresh])
    measured = [
        Measured(trial.number, each, each.metrics[metric], verdict)
        for (trial, each), verdict in zip(fresh, decided, strict=True)
    ]
    await tx.trials.measure(study.name, measured)
    # A trial that runs and has been measured here was let go on: it lost its lease after, and came by again.
    verdicts = {trial: _by_steps(study, each.step) for trial, each in reported}
    verdicts |= {study.name.trial(each.number): each.verdict for each in measured}
    for verdict, step in _MOVES.items():
        numbers = [trial.number for trial, one in verdicts.items() if one is verdict]
        await tx.trials.move(study.name, numbers, step)
    for trial, each in reported:
        if verdicts[trial] is Verdict.STOP:
            await succeed(tx, study, trial, each.metrics)
    if bundle.plan.kind is TrialKind.SEARCH:
        new = [(trial, each.step) for trial, each in fresh if verdicts[trial] is Verdict.CONTINUE]
        await evolve(tx, study, new)
    return verdicts


def _report(trial: TrialName, measurement: Measurement, metric: str) -> Report:
    return Report(trial.number, measurement.step, measurement.metrics[metric], measurement.elapsed_seconds or 0.0)


def _by_steps(study: Study, step: int) -> Verdict:
    return Verdict.STOP if 0 < study.spec.max_steps <= step else Verdict.CONTINUE
