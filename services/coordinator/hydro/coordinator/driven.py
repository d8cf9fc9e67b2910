"""Trials that their caller drives: ask and tell, for studies without a task."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from hydro.coordinator.bell import Bell
from hydro.coordinator.hot.callers import Callers, Run, caller_lost
from hydro.coordinator.hot.group_commit import GroupCommit, NotStored
from hydro.coordinator.hot.hot_studies import HotStudies
from hydro.coordinator.hot.hot_study import HotStudy
from hydro.coordinator.hot.lines import Lines
from hydro.coordinator.hot.open_trial import OpenTrial, no_measurement_any_more, should_stop_again
from hydro.coordinator.hot.outcome import Outcome
from hydro.coordinator.names import StudyName, TrialName
from hydro.coordinator.quotas import ReportRates
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.coordinator.trial import MAX_SECONDS, MAX_STEPS, Measurement, Trial, TrialState
from hydro.kit.errors import FieldViolation, InvalidArgument

MAX_RENEWED = 10_000


class DrivenTrials:
    """Suggests trials, takes their measurements, and ends them. Decided in memory, answered once stored.

    `changed` rings for those who follow studies, `bell` also for the loop that ends them.
    """

    def __init__(
        self,
        storage: Storage,
        hot: HotStudies,
        commit: GroupCommit,
        lines: Lines,
        bell: Bell,
        changed: Bell,
        rates: ReportRates,
        callers: Callers,
    ) -> None:
        self._storage = storage
        self._hot = hot
        self._commit = commit
        self._lines = lines
        self._bell = bell
        self._changed = changed
        self._rates = rates
        self._callers = callers

    async def suggest(self, study: StudyName, count: int, request_id: str) -> Sequence[Trial]:
        """Gives trials in RUNNING, fewer than asked for at the study's limits: those of lost callers, then new ones.

        Sent again with the same request_id, gives the same trials.
        """
        if count < 1:
            raise InvalidArgument.of([FieldViolation("count", f"is {count}: give 1 or more")])
        return await self._hot.run(study, lambda hot: self._suggest(hot, count, request_id))

    async def measure(self, name: TrialName, measurement: Measurement, lost_runs: int = 0) -> bool:
        """Stores a measurement, and gives whether the trial should end.

        Raises:
            AlreadyExists: VALUE_CONFLICT, when another measurement of the step stands.
            ResourceExhausted: QUOTA_EXCEEDED, its project reports too often.
            FailedPrecondition: WRONG_STATE, when the trial has ended; LEASE_LOST, when its caller was given up.
        """
        if not 0 <= measurement.step <= MAX_STEPS:
            description = f"is {measurement.step}: give 0 to {MAX_STEPS}"
            raise InvalidArgument.of([FieldViolation("measurement.step", description)])
        seconds = measurement.elapsed_seconds
        if seconds is not None and not 0 <= seconds <= MAX_SECONDS:
            description = f"is {seconds}: give 0 to {MAX_SECONDS:g}, or leave it out"
            raise InvalidArgument.of([FieldViolation("measurement.elapsed_seconds", description)])
        run = Run(name.number, lost_runs)
        # Also while the study cannot be read: its caller lives.
        self._callers.hear(name.study, run)
        return await self._hot.run(name.study, lambda hot: self._measure(hot, run, measurement))

    async def complete(self, name: TrialName, outcome: Outcome, lost_runs: int = 0) -> Trial:
        """Ends a trial; the same outcome again is fine.

        Raises:
            FailedPrecondition: WRONG_STATE, when it has ended otherwise; LEASE_LOST, when its caller was given up.
        """
        run = Run(name.number, lost_runs)
        self._callers.hear(name.study, run)
        return await self._hot.run(name.study, lambda hot: self._complete(hot, run, outcome))

    async def renew(self, study: StudyName, runs: Sequence[Run]) -> Sequence[Run]:
        """Notes that the callers of these runs live; gives those that are over, or were given to others."""
        if len(runs) > MAX_RENEWED:
            description = f"are {len(runs)}: give at most {MAX_RENEWED} in one call"
            raise InvalidArgument.of([FieldViolation("trials", description)])
        for run in runs:
            self._callers.hear(study, run)
        return await self._hot.run(study, lambda hot: _lost(hot, runs))

    async def _suggest(self, hot: HotStudy, count: int, request_id: str) -> Sequence[Trial]:
        async with hot.asking:
            numbers = hot.answered(request_id)
            if numbers is None:
                numbers = await self._started(hot, count, request_id)
        await self._stored(hot)
        found = [(number, hot.open(number)) for number in numbers]
        return [
            await self._trial(hot.name.trial(number)) if each is None else hot.trial(each) for number, each in found
        ]

    async def _started(self, hot: HotStudy, count: int, request_id: str) -> Sequence[int]:
        again = hot.give_again(count, request_id, self._commit.changes(hot)) if hot.has_lost_trials else []
        wanted = min(count - len(again), hot.room)
        if wanted <= 0:
            return again
        points = hot.next_points(wanted)
        suggestions = await self._lines.take(hot, wanted - len(points), points.values())
        if hot.closed:
            raise NotStored(f"{hot.name} was closed while its search was asked")
        # Other callers told their results meanwhile, but nobody else starts trials.
        return [*again, *hot.start(suggestions, request_id, self._commit.changes(hot), points)]

    async def _measure(self, hot: HotStudy, run: Run, measurement: Measurement) -> bool:
        # Here, where the study is known to exist: no bucket for every name that somebody calls.
        self._rates.take(hot.name.project)
        trial = hot.open(run.number)
        if trial is None:
            return await self._storage.run(lambda tx: _measured_before(tx, hot.name, run, measurement))
        _check(hot.name, run, trial.lost_runs)
        should_stop = hot.measure(trial, _timed(measurement, trial), self._commit.changes(hot))
        await self._stored(hot)
        if trial.state.has_ended:
            self._lines.learn(hot, run.number)
        return should_stop

    async def _complete(self, hot: HotStudy, run: Run, outcome: Outcome) -> Trial:
        name = hot.name.trial(run.number)
        trial = hot.open(run.number)
        if trial is None:
            ended = await self._trial(name)
            _check(hot.name, run, ended.failures)
            outcome.check(name, ended.state, ended.value, ended.result)
            return ended
        _check(hot.name, run, trial.lost_runs)
        hot.complete(trial, outcome, self._commit.changes(hot))
        await self._stored(hot)
        self._lines.learn(hot, run.number)
        if hot.is_done or hot.study.spec.stopping.is_set:
            # It may be over.
            self._bell.ring()
        return hot.trial(trial)

    async def _trial(self, name: TrialName) -> Trial:
        return await self._storage.run(lambda tx: tx.trials.get(name))

    async def _stored(self, hot: HotStudy) -> None:
        await self._commit.stored(hot)
        self._changed.ring()


def _timed(measurement: Measurement, trial: OpenTrial) -> Measurement:
    """The measurement with the time since the trial was given, unless its caller says otherwise."""
    if measurement.elapsed_seconds is not None or trial.given_time is None:
        return measurement
    seconds = max(0.0, (datetime.now(UTC) - trial.given_time).total_seconds())
    return Measurement(measurement.step, measurement.metrics, seconds)


async def _measured_before(tx: Transaction, study: StudyName, run: Run, measurement: Measurement) -> bool:
    """The answer of a trial that has ended: only what stands may be sent again."""
    trial = await tx.trials.get(study.trial(run.number))
    _check(study, run, trial.failures)
    for stands in (await tx.trials.standing(study, [(run.number, measurement.step)])).values():
        return should_stop_again(study, stands, measurement, trial.failures)
    raise no_measurement_any_more(study, run.number, trial.state)


async def _lost(hot: HotStudy, runs: Sequence[Run]) -> list[Run]:
    found = [(run, hot.open(run.number)) for run in runs]
    return [
        run
        for run, trial in found
        if trial is None or trial.state is not TrialState.RUNNING or trial.lost_runs != run.lost_runs
    ]


def _check(study: StudyName, run: Run, lost_runs: int) -> None:
    if run.lost_runs != lost_runs:
        raise caller_lost(study.trial(run.number))
