"""Trials and their measurements in Postgres."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Double,
    Integer,
    Text,
    Values,
    case,
    cast,
    column,
    func,
    select,
    tuple_,
    update,
    values,
)
from sqlalchemy.dialects.postgresql import distinct_on, insert

from hydro.coordinator.names import StudyName, TrialName
from hydro.coordinator.storage import schema
from hydro.coordinator.storage.documents import (
    artifact_document,
    changes_document,
    clean,
    result_document,
    result_of,
)
from hydro.coordinator.storage.postgres_session import PostgresSession
from hydro.coordinator.storage.postgres_trial_query import ORDERS, conditions
from hydro.coordinator.storage.postgres_trial_rows import measurement_of, measurement_row, new_row, trial_of
from hydro.coordinator.storage.trial_values import (
    Measured,
    NewRetry,
    NewTrial,
    Progress,
    TrialQuery,
)
from hydro.coordinator.tags import Tags
from hydro.coordinator.transition import Transition
from hydro.coordinator.trial import (
    START_TRIAL,
    Artifact,
    HyperparameterChange,
    Measurement,
    Result,
    Trial,
    TrialKind,
    TrialState,
    Verdict,
)
from hydro.kit.errors import NotFound

_TRIAL = schema.trial
_MEASUREMENT = schema.measurement
_OPEN = [state.value for state in TrialState if not state.has_ended]
LOG_CHARACTERS = 64 * 1024
MAX_RETRIES_KEPT = 16


class PostgresTrials:
    """The trials of one transaction."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    async def insert(self, study: StudyName, trials: Sequence[NewTrial]) -> Sequence[Trial]:
        """Stores new trials under the study's next numbers."""
        if not trials:
            return []
        revision = await self._session.touch(study)
        counter = schema.study.c.next_trial
        row = await self._session.row(
            update(schema.study)
            .where(schema.study.c.name == str(study))
            .values(next_trial=counter + len(trials))
            .returning((counter - len(trials)).label("first"))
        )
        if row is None:
            raise NotFound(f"{study} does not exist")
        rows = [new_row(study, row.first + index, each, revision) for index, each in enumerate(trials)]
        stored = await self._session.rows(insert(_TRIAL).values(rows).returning(_TRIAL))
        return sorted((trial_of(each) for each in stored), key=lambda trial: trial.name)

    async def get(self, name: TrialName) -> Trial:
        """Gives the trial with its measurements and its log."""
        row = await self._session.row(select(_TRIAL).where(_is(name)))
        if row is None:
            raise NotFound(f"{name} does not exist")
        measurements = await self._measurements(name.study, _MEASUREMENT.c.number == name.number)
        return trial_of(row, measurements.get(name.number, ()), row.log)

    async def list(self, study: StudyName, query: TrialQuery) -> Sequence[Trial]:
        """Gives the trials that are asked for, with their measurements."""
        wanted = select(*_BARE).where(_TRIAL.c.study == str(study), *conditions(query)).limit(query.limit)
        return await self._with_measurements(study, wanted, ORDERS[query.order])

    async def all(self, study: StudyName, kind: TrialKind | None = None) -> Sequence[Trial]:
        """Gives the study's trials with their measurements in the order of their numbers."""
        query = select(*_BARE).where(_TRIAL.c.study == str(study))
        return await self._with_measurements(study, query if kind is None else query.where(_TRIAL.c.kind == kind.value))

    async def open(self, study: StudyName) -> Sequence[Trial]:
        """Gives the study's trials that have not ended, without measurements."""
        query = select(*_BARE).where(_TRIAL.c.study == str(study), _TRIAL.c.state.in_(_OPEN))
        return [trial_of(row) for row in await self._session.rows(query.order_by(_TRIAL.c.number))]

    async def waiting(self, kind: TrialKind) -> Sequence[Trial]:
        """Gives the PENDING trials of every study that are in no bundle, oldest first."""
        query = select(*_BARE).where(
            _TRIAL.c.state == TrialState.PENDING.value, _TRIAL.c.kind == kind.value, _TRIAL.c.bundle.is_(None)
        )
        oldest_first = query.order_by(_TRIAL.c.create_time, _TRIAL.c.study, _TRIAL.c.number)
        return [trial_of(row) for row in await self._session.rows(oldest_first)]

    async def changed(self, study: StudyName, revision: int) -> Sequence[Trial]:
        """Gives the trials changed after the revision, each with its last measurement."""
        query = select(*_BARE).where(_TRIAL.c.study == str(study), _TRIAL.c.revision > revision)
        rows = await self._session.rows(query.order_by(_TRIAL.c.number))
        numbers = [row.number for row in rows]
        last = (
            select(_MEASUREMENT)
            .where(_MEASUREMENT.c.study == str(study), _MEASUREMENT.c.number.in_(numbers))
            .ext(distinct_on(_MEASUREMENT.c.number))
            .order_by(_MEASUREMENT.c.number, _MEASUREMENT.c.step.desc())
        )
        measured = {row.number: (measurement_of(row),) for row in await self._session.rows(last)}
        return [trial_of(row, measured.get(row.number, ())) for row in rows]

    async def in_bundle(self, bundle: int) -> Sequence[Trial]:
        """Gives the trials that are planned into the bundle or run in it."""
        query = select(*_BARE).where(_TRIAL.c.bundle == bundle).order_by(_TRIAL.c.number)
        return [trial_of(row) for row in await self._session.rows(query)]

    async def inserted(self, bundle: int, sequence: int) -> Sequence[Trial]:
        """Gives the running trials of the bundle that this report message's answer carried."""
        query = select(*_BARE).where(
            _TRIAL.c.bundle == bundle,
            _TRIAL.c.inserted_sequence == sequence,
            _TRIAL.c.state == TrialState.RUNNING.value,
        )
        return [trial_of(row) for row in await self._session.rows(query.order_by(_TRIAL.c.number))]

    async def move(
        self, study: StudyName, numbers: Sequence[int], step: Transition[TrialState], reason: str = ""
    ) -> Sequence[int]:
        """Takes the step with each trial that allows it, and gives their numbers."""
        columns: dict[str, Any] = {"state": step.target.value, "state_reason": clean(reason)}
        if step.target is not TrialState.RUNNING:
            columns |= {"bundle": None, "inserted_sequence": 0}
        if step.target.has_ended:
            columns["end_time"] = func.now()
        if step.target is TrialState.PAUSED:
            # It came to its rung: it is not what ends bundles.
            columns["lane_limit"] = 0
        sources = [source.value for source in step.sources]
        return await self._change(study, numbers, [_TRIAL.c.state.in_(sources)], **columns)

    async def join(self, study: StudyName, numbers: Sequence[int], bundle: int, sequence: int) -> Sequence[int]:
        """Starts PENDING trials that are in no bundle inside a running one."""
        return await self._start(study, numbers, bundle=bundle, inserted_sequence=sequence)

    async def put_result(self, name: TrialName, result: Result) -> None:
        """Stores what the trial has come to."""
        await self._change(name.study, [name.number], result=result_document(result))

    async def results(self, study: StudyName) -> Sequence[tuple[int, Result]]:
        """Gives what the study's succeeded search trials have come to, by number; not of those whose value is all."""
        query = select(_TRIAL.c.number, _TRIAL.c.result).where(
            _TRIAL.c.study == str(study),
            _TRIAL.c.kind == TrialKind.SEARCH.value,
            _TRIAL.c.state == TrialState.SUCCEEDED.value,
        )
        rows = await self._session.rows(query.order_by(_TRIAL.c.number))
        return [(row.number, result) for row in rows if (result := result_of(row.result)) is not None]

    async def used_points(self, study: StudyName) -> Sequence[int]:
        """Gives the indices of the known points that have a trial."""
        query = select(_TRIAL.c.known_point).where(_TRIAL.c.study == str(study), _TRIAL.c.known_point.is_not(None))
        return [row.known_point for row in await self._session.rows(query.order_by(_TRIAL.c.known_point))]

    async def measure(self, study: StudyName, measured: Sequence[Measured]) -> Sequence[tuple[int, int]]:
        """Stores measurements with the verdicts on them, and each trial's last objective."""
        if not measured:
            return []
        rows = await self._session.rows(
            insert(_MEASUREMENT)
            .values([measurement_row(study, each) for each in measured])
            .on_conflict_do_nothing()
            .returning(_MEASUREMENT.c.number, _MEASUREMENT.c.step)
        )
        stored = sorted((row.number, row.step) for row in rows)
        given = {(each.number, each.measurement.step): each.value for each in measured}
        new = values(column("number", Integer), column("step", BigInteger), column("value", Double), name="new").data(
            [(number, step, given[number, step]) for number, step in stored]
        )
        # A column of NULLs alone has no type of its own.
        new_value = cast(new.c.value, Double)
        is_last = (_TRIAL.c.steps <= new.c.step) & new_value.is_not(None)
        if stored:
            await self._change_from(
                study,
                new,
                value=case((is_last, new_value), else_=_TRIAL.c.value),
                steps=func.greatest(_TRIAL.c.steps, new.c.step),
            )
        return stored

    async def set_value(self, name: TrialName, value: float) -> None:
        """Stores the trial's final objective, which was not measured at a step."""
        await self._change(name.study, [name.number], value=value)

    async def standing(self, study: StudyName, keys: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], Measured]:
        """Gives the measurements that stand at these (number, step)."""
        if not keys:
            return {}
        rows = await self._session.rows(
            select(_MEASUREMENT).where(
                _MEASUREMENT.c.study == str(study), tuple_(_MEASUREMENT.c.number, _MEASUREMENT.c.step).in_(keys)
            )
        )
        return {
            (row.number, row.step): Measured(row.number, measurement_of(row), row.value, Verdict(row.verdict))
            for row in rows
        }

    async def progress(self, study: StudyName, lanes: Sequence[Progress], *, on_slot: bool) -> None:
        """Raises the trials' acknowledged steps, replaces older checkpoints, appends to their logs."""
        if not lanes:
            return
        new = values(
            column("number", Integer),
            column("steps", BigInteger),
            column("checkpoint", JSON(none_as_null=True)),
            column("log", Text),
            name="new",
        ).data([(each.number, each.steps, artifact_document(each.checkpoint), clean(each.log)) for each in lanes])
        checkpoint = cast(new.c.checkpoint, JSON)
        has_newer = checkpoint.is_not(None) & (_TRIAL.c.checkpoint_steps <= new.c.steps)
        done_now = func.greatest(0, new.c.steps - _TRIAL.c.steps)
        await self._change_from(
            study,
            new,
            steps=func.greatest(_TRIAL.c.steps, new.c.steps),
            slot_steps=_TRIAL.c.slot_steps + (done_now if on_slot else 0),
            checkpoint=case((has_newer, checkpoint), else_=_TRIAL.c.checkpoint),
            checkpoint_steps=case((has_newer, new.c.steps), else_=_TRIAL.c.checkpoint_steps),
            log=func.right(_TRIAL.c.log + new.c.log, LOG_CHARACTERS),
        )

    async def inherit(
        self,
        name: TrialName,
        checkpoint: Artifact | None,
        schedule: Sequence[HyperparameterChange],
        changes: Sequence[HyperparameterChange],
    ) -> None:
        """Has the trial go on from another one's checkpoint, with the hyperparameters that its schedule ends with."""
        last = schedule[-1]
        await self._change(
            name.study,
            [name.number],
            hyperparameters=dict(last.hyperparameters),
            checkpoint=artifact_document(checkpoint),
            checkpoint_steps=last.step,
            schedule=changes_document(schedule),
            changes=changes_document(changes),
        )

    async def add_device_seconds(self, study: StudyName, numbers: Sequence[int], seconds: float) -> None:
        """Adds to each trial's device time."""
        await self._change(study, numbers, device_seconds=_TRIAL.c.device_seconds + seconds)

    async def note_retry(
        self, study: StudyName, number: int, retry: NewRetry, *, failures: int, lane_limit: int
    ) -> None:
        """Keeps what went wrong with a run, in the log too, and how many failures that makes."""
        query = select(_TRIAL.c.retries, func.clock_timestamp().label("now")).where(_of(study, [number]))
        row = await self._session.row(query)
        if row is None:
            raise NotFound(f"{study.trial(number)} does not exist")
        reason = clean(retry.reason)
        document = {**asdict(retry), "reason": reason, "time": row.now.isoformat()}
        await self._change(
            study,
            [number],
            retries=[*row.retries, document][-MAX_RETRIES_KEPT:],
            failures=failures,
            lane_limit=lane_limit,
            log=func.right(_TRIAL.c.log + f"--- run again from step {retry.steps}: {reason}\n", LOG_CHARACTERS),
        )

    async def set_tags(self, name: TrialName, tags: Tags) -> None:
        """Gives the trial these tags and no others."""
        await self._change(name.study, [name.number], tags=dict(tags))

    async def _start(self, study: StudyName, numbers: Sequence[int], **columns: Any) -> Sequence[int]:
        sources = [source.value for source in START_TRIAL.sources]
        free = [_TRIAL.c.state.in_(sources), _TRIAL.c.bundle.is_(None)]
        return await self._change(study, numbers, free, state=START_TRIAL.target.value, state_reason="", **columns)

    async def _change(
        self, study: StudyName, numbers: Sequence[int], conditions: Sequence[ColumnElement[bool]] = (), **columns: Any
    ) -> Sequence[int]:
        if not numbers:
            return []
        revision = await self._session.touch(study)
        rows = await self._session.rows(
            update(_TRIAL)
            .where(_of(study, numbers), *conditions)
            .values(revision=revision, **columns)
            .returning(_TRIAL.c.number)
        )
        return sorted(row.number for row in rows)

    async def _change_from(self, study: StudyName, new: Values, **columns: Any) -> None:
        revision = await self._session.touch(study)
        await self._session.execute(
            update(_TRIAL)
            .where(_TRIAL.c.study == str(study), _TRIAL.c.number == new.c.number)
            .values(revision=revision, **columns)
        )

    async def _with_measurements(
        self, study: StudyName, query: Any, order: Any = (_TRIAL.c.number,)
    ) -> Sequence[Trial]:
        rows = await self._session.rows(query.order_by(*order))
        if not rows:
            return []
        numbers = [row.number for row in rows]
        is_dense = max(numbers) - min(numbers) < 2 * len(numbers)
        among = _MEASUREMENT.c.number
        wanted = among.between(min(numbers), max(numbers)) if is_dense else among.in_(numbers)
        measurements = await self._measurements(study, wanted)
        return [trial_of(row, measurements.get(row.number, ())) for row in rows]

    async def _measurements(
        self, study: StudyName, wanted: ColumnElement[bool]
    ) -> Mapping[int, tuple[Measurement, ...]]:
        query = select(_MEASUREMENT).where(_MEASUREMENT.c.study == str(study), wanted)
        found: dict[int, list[Measurement]] = {}
        for row in await self._session.rows(query.order_by(_MEASUREMENT.c.number, _MEASUREMENT.c.step)):
            found.setdefault(row.number, []).append(measurement_of(row))
        return {number: tuple(each) for number, each in found.items()}


# A list of trials does not carry their logs.
_BARE = [column for column in _TRIAL.c if column.name != "log"]


def _is(name: TrialName) -> ColumnElement[bool]:
    return (_TRIAL.c.study == str(name.study)) & (_TRIAL.c.number == name.number)


def _of(study: StudyName, numbers: Sequence[int]) -> ColumnElement[bool]:
    return (_TRIAL.c.study == str(study)) & _TRIAL.c.number.in_(numbers)
