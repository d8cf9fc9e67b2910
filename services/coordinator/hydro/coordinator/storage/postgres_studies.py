"""Studies in Postgres."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from hydro.coordinator.command import Command
from hydro.coordinator.names import StudyName, SurrogateName
from hydro.coordinator.ownership.owner import NotOwner
from hydro.coordinator.storage import schema
from hydro.coordinator.storage.documents import (
    clean,
    constraints_document,
    constraints_of,
    objectives_document,
    objectives_of,
    priors_document,
    priors_of,
    pruning_document,
    pruning_of,
    result_document,
    result_of,
    search_space_document,
    search_space_of,
    verification_document,
    verification_of,
    work_document,
    work_of,
)
from hydro.coordinator.storage.postgres_coordinators import is_free
from hydro.coordinator.storage.postgres_session import PostgresSession
from hydro.coordinator.storage.storage import PriorTrial
from hydro.coordinator.study import (
    Goal,
    Objective,
    Sampler,
    Study,
    StudySpec,
    StudyState,
    StudyStatistics,
    Task,
)
from hydro.coordinator.transition import Transition
from hydro.coordinator.trial import Hyperparameters, TrialKind, TrialState
from hydro.kit.errors import AlreadyExists, NotFound

_STUDY = schema.study
_TRIAL = schema.trial
_BUNDLE = schema.bundle
_PRIOR = schema.prior_trial


class PostgresStudies:
    """The studies of one transaction."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    async def insert(self, name: StudyName, spec: StudySpec, state: StudyState) -> Study:
        """Stores a new study. Raises AlreadyExists."""
        row = await self._session.row(
            insert(_STUDY)
            .values(name=str(name), project=name.project, uid=uuid.uuid4().hex, state=state.value, **_columns(spec))
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

    async def list(self, project: str, after: str, limit: int) -> Sequence[Study]:
        """Gives studies of the project in the order of their ids."""
        behind = f"projects/{project}/studies/{after}"
        query = select(_STUDY).where(_STUDY.c.project == project, _STUDY.c.name.collate("C") > behind)
        return [
            study_of(row) for row in await self._session.rows(query.order_by(_STUDY.c.name.collate("C")).limit(limit))
        ]

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
        return StudyStatistics(
            trials_by_state={row.state: row.trials for row in trials},
            bundles=0 if bundles is None else bundles.bundles,
            max_fusion_count=0 if bundles is None else bundles.max_fusion_count,
            device_seconds=float(sum(row.device_seconds for row in trials)),
            trial_steps=int(sum(row.steps for row in trials)),
            slot_trial_steps=int(sum(row.slot_steps for row in trials)),
        )

    async def move(self, name: StudyName, step: Transition[StudyState], reason: str = "") -> Study:
        """Takes the step, stores the reason, and the end's time."""
        row = await self._change(
            name,
            [_STUDY.c.state.in_([source.value for source in step.sources])],
            state=step.target.value,
            state_reason=clean(reason),
            end_time=func.now() if step.target.has_ended else None,
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


def _columns(spec: StudySpec) -> dict[str, Any]:
    return {
        "task": work_document(spec.task or spec.command),
        "search_space": search_space_document(spec.search_space),
        "objective_metric": spec.objective.metric,
        "objective_goal": spec.objective.goal.value,
        "further_objectives": objectives_document(spec.further_objectives),
        "constraints": constraints_document(spec.constraints),
        "known_points": [dict(each) for each in spec.known_points],
        "priors": priors_document(spec.priors),
        "sampler": spec.sampler.value,
        "pruning": pruning_document(spec.pruning),
        "max_steps": spec.max_steps,
        "surrogate_width": spec.surrogate_width,
        "verification": verification_document(spec.verification),
        "max_trials": spec.max_trials,
        "parallelism": spec.parallelism,
        "seed": spec.seed,
    }


def prior_trial_of(row: Any) -> PriorTrial:
    """The prior trial of a row."""
    result = result_of(row.result)
    assert result is not None  # the column takes no NULL
    return PriorTrial(row.number, row.hyperparameters, result, row.steps)


def study_of(row: Any) -> Study:
    """The study of a row."""
    name = StudyName.parse(row.name)
    work = work_of(row.task)
    return Study(
        name=name,
        spec=StudySpec(
            task=work if isinstance(work, Task) else None,
            command=work if isinstance(work, Command) else None,
            search_space=search_space_of(row.search_space),
            objective=Objective(row.objective_metric, Goal(row.objective_goal)),
            sampler=Sampler(row.sampler),
            pruning=pruning_of(row.pruning),
            max_steps=row.max_steps,
            surrogate_width=row.surrogate_width,
            max_trials=row.max_trials,
            parallelism=row.parallelism,
            seed=row.seed,
            verification=verification_of(row.verification),
            further_objectives=objectives_of(row.further_objectives),
            constraints=constraints_of(row.constraints),
            known_points=tuple(row.known_points),
            priors=priors_of(row.priors),
        ),
        state=StudyState(row.state),
        state_reason=row.state_reason,
        warnings=tuple(row.warnings),
        surrogate=None if row.surrogate is None else SurrogateName.parse(row.surrogate),
        best_trial=None if row.best_trial is None else name.trial(row.best_trial),
        version=row.version,
        revision=row.revision,
        uid=row.uid,
        next_trial=row.next_trial,
        create_time=row.create_time,
        end_time=row.end_time,
    )
