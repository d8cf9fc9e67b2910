"""Studies in Postgres."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from sqlalchemy import ColumnElement, Double, Integer, Row, cast, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert

from hydro.coordinator.names import StudyName, SurrogateName
from hydro.coordinator.ownership.owner import NotOwner
from hydro.coordinator.stopping import SearchStanding
from hydro.coordinator.storage import schema
from hydro.coordinator.storage.documents import clean, result_document
from hydro.coordinator.storage.driven_storage import TimedRun
from hydro.coordinator.storage.postgres_coordinators import is_free
from hydro.coordinator.storage.postgres_session import PostgresSession
from hydro.coordinator.storage.postgres_study_rows import prior_trial_of, study_columns, study_of
from hydro.coordinator.storage.trial_values import PriorTrial
from hydro.coordinator.study import (
    Study,
    StudyPlace,
    StudySpec,
    StudyState,
    StudyStatistics,
)
from hydro.coordinator.tags import Tags
from hydro.coordinator.transition import Transition
from hydro.coordinator.trial import Hyperparameters, TrialKind, TrialState
from hydro.kit.errors import AlreadyExists, NotFound

_STUDY = schema.study
_TRIAL = schema.trial
_BUNDLE = schema.bundle
_PRIOR = schema.prior_trial
_COUNT_KEY = 0x71756F74  # "quot"


class PostgresStudies:
    """The studies of one transaction."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    async def insert(
        self, name: StudyName, spec: StudySpec, state: StudyState, tags: Tags = MappingProxyType({})
    ) -> Study:
        """Stores a new study. Raises AlreadyExists."""
        row = await self._session.row(
            insert(_STUDY)
            .values(
                name=str(name),
                project=name.project,
                uid=uuid.uuid4().hex,
                state=state.value,
                search_time=_search_time(state),
                tags=dict(tags),
                **study_columns(spec),
            )
            .on_conflict_do_nothing()
            .returning(_STUDY)
        )
        if row is None:
            raise AlreadyExists(f"{name} exists: choose another study_id, or delete that study")
        return study_of(row)

    async def get(self, name: StudyName) -> Study:
        """Gives the study without its statistics."""
        return _found(name, await self._session.row(select(_STUDY).where(_STUDY.c.name == str(name))))

    async def lock(self, name: StudyName) -> Study:
        """Gives the study, and keeps every other writer of it and of its trials waiting."""
        row = await self._session.row(select(_STUDY).where(_STUDY.c.name == str(name)).with_for_update())
        return _found(name, row)

    async def own(self, name: StudyName, owner: str) -> Study:
        """Locks the study, and makes the coordinator its owner with a higher epoch, if it is driven by its caller."""
        study = await self.lock(name)
        if not study.spec.is_driven:
            return study
        row = await self._session.row(
            update(_STUDY)
            .where(_STUDY.c.name == str(name), is_free(_STUDY.c.owner, owner))
            .values(owner=owner, epoch=_STUDY.c.epoch + 1)
            .returning(_STUDY)
        )
        if row is None:
            raise NotOwner(f"{name} has another owner")
        return study_of(row)

    async def list(
        self,
        project: str,
        limit: int,
        after: StudyPlace | None = None,
        states: Sequence[StudyState] = (),
        tags: Tags = MappingProxyType({}),
    ) -> Sequence[Study]:
        """Gives studies of the project, the newest first."""
        query, name = select(_STUDY).where(_STUDY.c.project == project), _STUDY.c.name.collate("C")
        if after is not None:
            is_next = (_STUDY.c.create_time == after.create_time) & (name > f"projects/{project}/studies/{after.study}")
            query = query.where((_STUDY.c.create_time < after.create_time) | is_next)
        if states:
            query = query.where(_STUDY.c.state.in_([state.value for state in states]))
        if tags:
            query = query.where(_STUDY.c.tags.contains(dict(tags)))
        newest_first = query.order_by(_STUDY.c.create_time.desc(), name).limit(limit)
        return [study_of(row) for row in await self._session.rows(newest_first)]

    async def count_open(self, project: str) -> int:
        """Counts the project's studies that have not ended; others that count wait until the transaction ends."""
        await self._session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(project, _COUNT_KEY))))
        is_open = _STUDY.c.state.not_in([state.value for state in StudyState if state.has_ended])
        row = await self._session.row(select(func.count().label("open")).where(_STUDY.c.project == project, is_open))
        return 0 if row is None else row.open

    async def in_states(self, states: Iterable[StudyState]) -> Sequence[Study]:
        """Gives every study in one of the states."""
        query = select(_STUDY).where(_STUDY.c.state.in_([state.value for state in states]))
        return [study_of(row) for row in await self._session.rows(query.order_by(_STUDY.c.create_time, _STUDY.c.name))]

    async def exhausted(self, states: Iterable[StudyState]) -> Sequence[Study]:
        """Gives those in one of the states that were given all their trials and have none PENDING or RUNNING."""
        search = (_TRIAL.c.study == _STUDY.c.name) & (_TRIAL.c.kind == TrialKind.SEARCH.value)
        busy = _TRIAL.c.state.in_([TrialState.PENDING.value, TrialState.RUNNING.value])
        made = select(func.count()).select_from(_TRIAL).where(search).scalar_subquery()
        query = select(_STUDY).where(
            _STUDY.c.state.in_([state.value for state in states]),
            _STUDY.c.next_trial >= _STUDY.c.max_trials,
            ~select(_TRIAL.c.number).where(search, busy).exists(),
            made >= _STUDY.c.max_trials,
        )
        return [study_of(row) for row in await self._session.rows(query.order_by(_STUDY.c.create_time, _STUDY.c.name))]

    async def statistics(self, name: StudyName) -> StudyStatistics:
        """Counts the study's search trials."""
        search = TrialKind.SEARCH.value
        trials = await self._session.rows(
            select(
                _TRIAL.c.state,
                func.count().label("trials"),
                func.sum(_TRIAL.c.device_seconds).label("device_seconds"),
                func.sum(_TRIAL.c.steps).label("steps"),
                func.sum(_TRIAL.c.slot_steps).label("slot_steps"),
            )
            .where(_TRIAL.c.study == str(name), _TRIAL.c.kind == search)
            .group_by(_TRIAL.c.state)
        )
        fused = func.coalesce(func.max(_BUNDLE.c.max_fusion_count), 0)
        bundles = await self._session.row(
            select(func.count().label("bundles"), fused.label("max_fusion_count")).where(
                _BUNDLE.c.study == str(name), _BUNDLE.c.kind == search, _BUNDLE.c.max_fusion_count > 0
            )
        )
        searched = select(_searched_seconds().label("seconds")).where(_STUDY.c.name == str(name))
        study = await self._session.row(searched)
        return StudyStatistics(
            trials_by_state={row.state: row.trials for row in trials},
            bundles=0 if bundles is None else bundles.bundles,
            max_fusion_count=0 if bundles is None else bundles.max_fusion_count,
            device_seconds=float(sum(row.device_seconds for row in trials)),
            trial_steps=int(sum(row.steps for row in trials)),
            slot_trial_steps=int(sum(row.slot_steps for row in trials)),
            searched_seconds=0.0 if study is None else study.seconds,
        )

    async def move(self, name: StudyName, step: Transition[StudyState], reason: str = "") -> Study:
        """Takes the step, stores the reason, and the end's time."""
        row = await self._change(
            name,
            [_STUDY.c.state.in_([source.value for source in step.sources])],
            state=step.target.value,
            state_reason=clean(reason),
            end_time=func.now() if step.target.has_ended else None,
            searched_seconds=_searched_seconds(),
            search_time=_search_time(step.target),
        )
        if row is None:
            raise step.refusal(name, (await self.get(name)).state)
        return study_of(row)

    async def add_warnings(self, name: StudyName, warnings: Sequence[str]) -> None:
        """Adds those that the study does not have yet."""
        known = (await self.lock(name)).warnings
        new = [clean(warning) for warning in warnings if clean(warning) not in known]
        if new:
            await self._change(name, warnings=[*known, *new])

    async def set_surrogate(self, name: StudyName, surrogate: SurrogateName, fingerprint: str) -> None:
        """Says which surrogate the study tunes, and the digest of the task's source."""
        task = (await self.lock(name)).spec.task
        document = None if task is None else asdict(task) | {"fingerprint": fingerprint}
        await self._change(name, surrogate=str(surrogate), task=document)

    async def set_best_trial(self, name: StudyName, number: int) -> None:
        """Says which trial is the best."""
        await self._change(name, [_STUDY.c.best_trial.is_distinct_from(number)], best_trial=number)

    async def limit_trials(self, name: StudyName, max_trials: int) -> None:
        """Lowers the number of search trials that the study has in the end."""
        await self._change(name, [_STUDY.c.max_trials > max_trials], max_trials=max_trials)

    async def add_known_points(self, name: StudyName, points: Sequence[Hyperparameters]) -> None:
        """Adds to the study's known points."""
        known = (await self.lock(name)).spec.known_points
        await self._change(name, known_points=[dict(each) for each in (*known, *points)])

    async def put_prior_trials(self, name: StudyName, trials: Sequence[PriorTrial]) -> None:
        """Stores the trials that the study's search begins with."""
        if not trials:
            return
        rows = [
            {
                "study": str(name),
                "number": each.number,
                "hyperparameters": dict(each.hyperparameters),
                "result": result_document(each.result),
                "steps": each.steps,
            }
            for each in trials
        ]
        await self._session.execute(insert(_PRIOR).values(rows))

    async def prior_trials(self, name: StudyName) -> Sequence[PriorTrial]:
        """Gives them, in the order of their numbers."""
        query = select(_PRIOR).where(_PRIOR.c.study == str(name)).order_by(_PRIOR.c.number)
        return [prior_trial_of(row) for row in await self._session.rows(query)]

    async def set_tags(self, name: StudyName, tags: Tags) -> Study:
        """Gives the study these tags and no others."""
        return _found(name, await self._change(name, tags=dict(tags)))

    async def fence(self, name: StudyName) -> None:
        """Raises the epoch: who has the study in memory stores nothing of it any more before it reads it again."""
        await self._session.execute(update(_STUDY).where(_STUDY.c.name == str(name)).values(epoch=_STUDY.c.epoch + 1))

    async def limited(self, states: Iterable[StudyState]) -> Sequence[Study]:
        """Gives those in one of the states that something may end before all their trials are made."""
        limits = cast(_STUDY.c.limits, JSONB)
        is_limited = or_(
            cast(limits["max_duration_seconds"], Double) > 0,
            func.jsonb_typeof(limits["target_value"]) == "number",
            cast(limits["max_trials_without_improvement"], Integer) > 0,
            cast(limits["failure_budget"], Integer) > 0,
        )
        query = select(_STUDY).where(_STUDY.c.state.in_([state.value for state in states]), is_limited)
        return [study_of(row) for row in await self._session.rows(query.order_by(_STUDY.c.create_time, _STUDY.c.name))]

    async def timed(self, owner: str) -> Sequence[TimedRun]:
        """Gives the RUNNING trials of driven studies with a trial timeout, the owner's or no living coordinator's."""
        seconds = cast(cast(_STUDY.c.limits, JSONB)["trial_timeout_seconds"], Double)
        is_open = _STUDY.c.state.in_([state.value for state in StudyState if not state.has_ended])
        query = (
            select(_TRIAL.c.study, _TRIAL.c.number, _TRIAL.c.failures, seconds.label("seconds"))
            .join(_STUDY, _STUDY.c.name == _TRIAL.c.study)
            .where(
                # The cheap ones first: documents are read of the open studies alone that their callers drive.
                _STUDY.c.task.is_(None),
                is_open,
                _TRIAL.c.state == TrialState.RUNNING.value,
                _TRIAL.c.kind == TrialKind.SEARCH.value,
                seconds > 0,
                is_free(_STUDY.c.owner, owner),
            )
            .order_by(_TRIAL.c.study, _TRIAL.c.number)
        )
        rows = await self._session.rows(query)
        return [TimedRun(StudyName.parse(row.study), row.number, row.failures, row.seconds) for row in rows]

    async def standing(self, name: StudyName) -> SearchStanding:
        """Gives how far the search has come."""
        search = (_TRIAL.c.study == str(name)) & (_TRIAL.c.kind == TrialKind.SEARCH.value)
        best = _TRIAL.alias("best")
        is_best = (best.c.study == _STUDY.c.name) & (best.c.number == _STUDY.c.best_trial)
        without = _TRIAL.c.state.in_([TrialState.SUCCEEDED.value, TrialState.PRUNED.value])
        has_failed = _TRIAL.c.state == TrialState.FAILED.value
        later = select(func.count()).where(search, without, _TRIAL.c.end_time > best.c.end_time).scalar_subquery()
        failed = select(func.count()).where(search, has_failed).scalar_subquery()
        row = await self._session.row(
            select(_searched_seconds().label("seconds"), best.c.value, later.label("later"), failed.label("failed"))
            .select_from(_STUDY.outerjoin(best, is_best))
            .where(_STUDY.c.name == str(name))
        )
        if row is None:
            raise NotFound(f"{name} does not exist")
        first = select(_TRIAL.c.number, _TRIAL.c.state_reason).where(search, has_failed)
        reasons = await self._session.rows(first.order_by(_TRIAL.c.end_time, _TRIAL.c.number).limit(3))
        said = [f"trial {each.number}: {each.state_reason}" for each in reasons]
        return SearchStanding(row.seconds, row.value, row.later, row.failed, said)

    async def delete(self, name: StudyName) -> None:
        """Forgets the study and all that is its own."""
        row = await self._session.row(delete(_STUDY).where(_STUDY.c.name == str(name)).returning(_STUDY.c.name))
        if row is None:
            raise NotFound(f"{name} does not exist")

    async def _change(self, name: StudyName, conditions: Sequence[Any] = (), **values: Any) -> Row[Any] | None:
        await self._session.touch(name)
        return await self._session.row(
            update(_STUDY)
            .where(_STUDY.c.name == str(name), *conditions)
            .values(version=_STUDY.c.version + 1, **values)
            .returning(_STUDY)
        )


def _found(name: StudyName, row: Row[Any] | None) -> Study:
    if row is None:
        raise NotFound(f"{name} does not exist")
    return study_of(row)


def _searched_seconds() -> ColumnElement[float]:
    now = func.extract("epoch", func.clock_timestamp() - _STUDY.c.search_time)
    return _STUDY.c.searched_seconds + func.coalesce(cast(now, Double), 0.0)


def _search_time(state: StudyState) -> ColumnElement[Any] | None:
    return func.clock_timestamp() if state is StudyState.SEARCHING else None
