"""Trials that their caller drives: ask and tell, for studies without a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from hydro.coordinator.bell import Bell
from hydro.coordinator.hot.group_commit import GroupCommit, NotStored
from hydro.coordinator.hot.hot_studies import HotStudies
from hydro.coordinator.hot.hot_study import HotStudy, OpenTrial, no_measurement_any_more, should_stop_again
from hydro.coordinator.hot.lines import Lines
from hydro.coordinator.hot.outcome import Outcome
from hydro.coordinator.names import StudyName, TrialName
from hydro.coordinator.quotas import ReportRates
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.coordinator.trial import MAX_SECONDS, MAX_STEPS, Measurement, Trial
from hydro.kit.errors import FieldViolation, InvalidArgument


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
    ) -> None:
        self._storage = storage
        self._hot = hot
        self._commit = commit
        self._lines = lines
        self._bell = bell
        self._changed = changed
        self._rates = rates

    async def suggest(self, study: StudyName, count: int, request_id: str) -> Sequence[Trial]:
        """Gives new trials in RUNNING, fewer than asked for at the study's limits.

        Sent again with the same request_id, gives the same trials.
        """
        if count < 1:
            raise InvalidArgument.of([FieldViolation("count", f"is {count}: give 1 or more")])
        return await self._hot.run(study, lambda hot: self._suggest(hot, count, request_id))

    async def measure(self, name: TrialName, measurement: Measurement) -> bool:
        """Stores a measurement, and gives whether the trial should end.

        Raises:
            AlreadyExists: VALUE_CONFLICT, when another measurement of the step stands.
            ResourceExhausted: QUOTA_EXCEEDED, its project reports too often.
            FailedPrecondition: WRONG_STATE, when the trial has ended.
        """
        if not 0 <= measurement.step <= MAX_STEPS:
            description = f"is {measurement.step}: give 0 to {MAX_STEPS}"
            raise InvalidArgument.of([FieldViolation("measurement.step", description)])
        seconds = measurement.elapsed_seconds
        if seconds is not None and not 0 <= seconds <= MAX_SECONDS:
            description = f"is {seconds}: give 0 to {MAX_SECONDS:g}, or leave it out"
            raise InvalidArgument.of([FieldViolation("measurement.elapsed_seconds", description)])
        return await self._hot.run(name.study, lambda hot: self._measure(hot, name, measurement))

    async def complete(self, name: TrialName, outcome: Outcome) -> Trial:
        """Ends a trial; the same outcome again is fine.

        Raises:
            FailedPrecondition: WRONG_STATE, when it has ended otherwise.
        """
        return await self._hot.run(name.study, lambda hot: self._complete(hot, name, outcome))

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
        wanted = min(count, hot.room)
        if wanted <= 0:
            return []
        points = hot.next_points(wanted)
        suggestions = await self._lines.take(hot, wanted - len(points), points.values())
        if hot.closed:
            raise NotStored(f"{hot.name} was closed while its search was asked")
        # Other callers told their results meanwhile, but nobody else starts trials.
        return hot.start(suggestions, request_id, self._commit.changes(hot), points)

    async def _measure(self, hot: HotStudy, name: TrialName, measurement: Measurement) -> bool:
        # Here, where the study is known to exist: no bucket for every name that somebody calls.
        self._rates.take(name.study.project)
        trial = hot.open(name.number)
        if trial is None:
            return await self._storage.run(lambda tx: _measured_before(tx, name, measurement))
        should_stop = hot.measure(trial, _timed(measurement, trial), self._commit.changes(hot))
        await self._stored(hot)
        if trial.state.has_ended:
            self._lines.learn(hot, name.number)
        return should_stop

    async def _complete(self, hot: HotStudy, name: TrialName, outcome: Outcome) -> Trial:
        trial = hot.open(name.number)
        if trial is None:
            ended = await self._trial(name)
            outcome.check(name, ended.state, ended.value, ended.result)
            return ended
        hot.complete(trial, outcome, self._commit.changes(hot))
        await self._stored(hot)
        self._lines.learn(hot, name.number)
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
    if measurement.elapsed_seconds is not None or trial.create_time is None:
        return measurement
    return replace(measurement, elapsed_seconds=max(0.0, (datetime.now(UTC) - trial.create_time).total_seconds()))


async def _measured_before(tx: Transaction, name: TrialName, measurement: Measurement) -> bool:
    """The answer of a trial that has ended: only what stands may be sent again."""
    for stands in (await tx.trials.standing(name.study, [(name.number, measurement.step)])).values():
        return should_stop_again(name.study, stands, measurement)
    trial = await tx.trials.get(name)
    raise no_measurement_any_more(name.study, name.number, trial.state)
