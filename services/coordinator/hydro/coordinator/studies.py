"""What callers do with studies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from hydro.coordinator.bell import Bell
from hydro.coordinator.bundle import BundleState
from hydro.coordinator.hot.hot_studies import HotStudies
from hydro.coordinator.names import ProjectName, StudyName
from hydro.coordinator.pruners import Pruners
from hydro.coordinator.storage.storage import Result, Storage, Transaction
from hydro.coordinator.study import (
    CANCEL_STUDY,
    PAUSE_STUDY,
    RESUME_STUDY,
    Study,
    StudySpec,
    StudyState,
)
from hydro.coordinator.transition import Transition
from hydro.coordinator.trial import CANCEL_TRIAL
from hydro.coordinator.validation import validate_spec, validate_study_id
from hydro.kit.errors import Aborted, AlreadyExists, FailedPrecondition, FieldViolation, InvalidArgument

_CREATE = "CreateStudy"


class Studies:
    """Creates, reads, pauses, resumes, cancels and deletes studies."""

    def __init__(self, storage: Storage, hot: HotStudies, pruners: Pruners, bell: Bell) -> None:
        self._storage = storage
        self._hot = hot
        self._pruners = pruners
        self._bell = bell

    async def create(
        self,
        project: ProjectName,
        study_id: str,
        spec: StudySpec,
        request_id: str,
        violations: Sequence[FieldViolation] = (),
    ) -> Study:
        """Stores a new study in PREPARING, or in SEARCHING when it has no task.

        Args:
            project: whose it is.
            study_id: its id.
            spec: what it is.
            request_id: the same one again gives the same study.
            violations: what was found wrong while it was read.

        Raises:
            InvalidArgument: everything that is wrong with it.
            AlreadyExists: the id is taken.
        """
        found = [*validate_study_id(study_id), *violations, *validate_spec(spec)]
        if found:
            raise InvalidArgument.of(found)
        name = StudyName(project.project, study_id)
        state = StudyState.SEARCHING if spec.task is None else StudyState.PREPARING

        async def work(tx: Transaction) -> Study:
            answer = await tx.requests.answer(_CREATE, request_id)
            if answer is None:
                try:
                    study = await tx.studies.insert(name, spec, state)
                except AlreadyExists:
                    # The same request may have been sent twice at once: this one waited for the other's commit.
                    answer = await tx.requests.answer(_CREATE, request_id)
                    if answer is None:
                        raise
            if answer is not None:
                return await _read(tx, StudyName.parse(answer[0]))
            await tx.requests.remember(_CREATE, request_id, [str(name)])
            return study

        study = await self._storage.run(work)
        self._bell.ring()
        return study

    async def get(self, name: StudyName) -> Study:
        """Gives the study with its statistics."""
        return await self._storage.run(lambda tx: _read(tx, name))

    async def list(self, project: ProjectName, after: str, limit: int) -> Sequence[Study]:
        """Gives studies with their statistics in the order of their ids, from the one behind `after`."""

        async def work(tx: Transaction) -> Sequence[Study]:
            studies = await tx.studies.list(project.project, after, limit)
            return [replace(each, statistics=await tx.studies.statistics(each.name)) for each in studies]

        return await self._storage.run(work)

    async def cancel(self, name: StudyName, etag: str) -> Study:
        """Ends the study; its open trials become CANCELLED. A cancelled one is given as it is."""

        async def work(tx: Transaction) -> Study:
            if await self._is_moved(tx, name, etag, CANCEL_STUDY):
                trials = await tx.trials.open(name)
                await tx.trials.move(
                    name, [trial.name.number for trial in trials], CANCEL_TRIAL, "the study was cancelled"
                )
                await _dissolve(tx, name)
            return await _read(tx, name)

        return await self._changed(name, work)

    async def pause(self, name: StudyName, etag: str) -> Study:
        """Starts no trial any more; running ones end their lease and keep their checkpoint."""

        async def work(tx: Transaction) -> Study:
            if await self._is_moved(tx, name, etag, PAUSE_STUDY):
                await _dissolve(tx, name)
            return await _read(tx, name)

        return await self._changed(name, work)

    async def resume(self, name: StudyName, etag: str) -> Study:
        """Goes on where it was paused."""

        async def work(tx: Transaction) -> Study:
            await self._is_moved(tx, name, etag, RESUME_STUDY)
            return await _read(tx, name)

        return await self._changed(name, work)

    async def delete(self, name: StudyName, etag: str) -> None:
        """Forgets the study and its trials.

        Raises:
            FailedPrecondition: WRONG_STATE, unless it has ended.
        """

        async def work(tx: Transaction) -> None:
            study = await tx.studies.own(name, self._hot.owner)
            _check_etag(study, etag)
            if not study.state.has_ended:
                raise FailedPrecondition(f"{name} is {study.state.name}: cancel it before you delete it")
            await tx.studies.delete(name)
            self._pruners.drop(study)

        await self._changed(name, work)

    async def _is_moved(self, tx: Transaction, name: StudyName, etag: str, step: Transition[StudyState]) -> bool:
        """Takes the step, unless the study is where it leads: then a call is repeated, whatever its etag."""
        study = await tx.studies.own(name, self._hot.owner)
        if study.state is step.target:
            return False
        _check_etag(study, etag)
        await tx.studies.move(name, step)
        self._pruners.drop(study)
        return True

    async def _changed(self, name: StudyName, work: Callable[[Transaction], Awaitable[Result]]) -> Result:
        async with self._hot.exclusive(name):
            result = await self._storage.run(work)
        self._bell.ring()
        return result


async def _read(tx: Transaction, name: StudyName) -> Study:
    study = await tx.studies.get(name)
    return replace(study, statistics=await tx.studies.statistics(name))


def _check_etag(study: Study, etag: str) -> None:
    if etag and etag != study.etag:
        raise Aborted(f"{study.name} has changed since it was read (etag {study.etag}, not {etag}): read it again")


async def _dissolve(tx: Transaction, name: StudyName) -> None:
    for bundle in await tx.bundles.live(name):
        if bundle.state is BundleState.ALLOCATED:
            await tx.bundles.dissolve(bundle.number)
