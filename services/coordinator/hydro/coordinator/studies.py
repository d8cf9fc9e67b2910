"""What callers do with studies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from types import MappingProxyType

from hydro.coordinator.bell import Bell
from hydro.coordinator.bundle import BundleState
from hydro.coordinator.hot.hot_studies import HotStudies
from hydro.coordinator.known_points import waiting_points
from hydro.coordinator.names import ProjectName, StudyName, TrialName
from hydro.coordinator.overview import overview
from hydro.coordinator.priors import Adopted, adopt, validate_prior
from hydro.coordinator.pruners import Pruners
from hydro.coordinator.quotas import Allowance, Quotas
from hydro.coordinator.sampling import settled
from hydro.coordinator.storage.storage import Answer, Storage, Transaction
from hydro.coordinator.study import (
    CANCEL_STUDY,
    PAUSE_STUDY,
    RESUME_STUDY,
    Study,
    StudyPlace,
    StudySpec,
    StudyState,
)
from hydro.coordinator.tags import Tags, changed, validate_tags
from hydro.coordinator.transition import Transition
from hydro.coordinator.trial import CANCEL_TRIAL, Hyperparameters, Trial, TrialKind
from hydro.coordinator.validation import (
    MAX_KNOWN_POINTS,
    validate_known_points,
    validate_spec,
    validate_study_id,
)
from hydro.kit.errors import Aborted, AlreadyExists, FailedPrecondition, FieldViolation, InvalidArgument, NotFound

_CREATE, _ENQUEUE = "CreateStudy", "EnqueueTrials"
NO_QUOTAS = Quotas({})


class Studies:
    """Creates, reads, pauses, resumes, cancels and deletes studies."""

    def __init__(
        self, storage: Storage, hot: HotStudies, pruners: Pruners, bell: Bell, quotas: Quotas = NO_QUOTAS
    ) -> None:
        self._storage = storage
        self._hot = hot
        self._pruners = pruners
        self._bell = bell
        self._quotas = quotas

    async def create(
        self,
        project: ProjectName,
        study_id: str,
        spec: StudySpec,
        request_id: str,
        violations: Sequence[FieldViolation] = (),
        tags: Tags = MappingProxyType({}),
    ) -> Study:
        """Stores a new study in PREPARING, or in SEARCHING when it has no task.

        Args:
            project: whose it is.
            study_id: its id.
            spec: what it is.
            request_id: the same one again gives the same study.
            violations: what was found wrong while it was read.
            tags: to find it by.

        Raises:
            InvalidArgument: everything that is wrong with it.
            AlreadyExists: the id is taken.
            ResourceExhausted: QUOTA_EXCEEDED, its project may not have it.
        """
        found = [*validate_study_id(study_id), *violations, *validate_spec(spec), *validate_tags(tags, "study.tags")]
        if found:
            raise InvalidArgument.of(found)
        spec = settled(spec)
        self._quotas.check_trials(project, spec.max_trials)
        name = StudyName(project.project, study_id)
        state = StudyState.PREPARING if spec.task is not None else StudyState.SEARCHING

        async def work(tx: Transaction) -> Study:
            answer = await tx.requests.answer(_CREATE, request_id)
            if answer is None:
                adopted = await _adopted(tx, spec)
                if self._quotas.of(project.project).open_studies:
                    self._quotas.check_open_studies(project, await tx.studies.count_open(project.project))
                try:
                    study = await tx.studies.insert(name, spec, state, tags)
                except AlreadyExists:
                    # The same request may have been sent twice at once: this one waited for the other's commit.
                    answer = await tx.requests.answer(_CREATE, request_id)
                    if answer is None:
                        raise
            if answer is not None:
                return await _read(tx, StudyName.parse(answer[0]))
            await tx.studies.put_prior_trials(name, [trial for each in adopted for trial in each.trials])
            await tx.studies.add_warnings(name, [warning for each in adopted for warning in each.warnings])
            await tx.requests.remember(_CREATE, request_id, [str(name)])
            return await _read(tx, study.name)

        study = await self._storage.run(work)
        self._bell.ring()
        return study

    async def allowance(self, project: ProjectName) -> Allowance:
        """Gives what a project may have, and has."""
        open_studies = await self._storage.run(lambda tx: tx.studies.count_open(project.project))
        return Allowance(self._quotas.of(project.project), open_studies)

    async def enqueue(self, name: StudyName, points: Sequence[Hyperparameters], request_id: str) -> Study:
        """Adds known points: the next trials have them, before anything is suggested.

        Args:
            name: the study.
            points: as in its search space, each whole or in part.
            request_id: the same one again adds nothing.

        Raises:
            InvalidArgument: points that no trial of the study can have, or more than it has trials left.
            FailedPrecondition: WRONG_STATE, when it has ended.
        """

        async def work(tx: Transaction) -> Study:
            study = await tx.studies.own(name, self._hot.owner)
            if await tx.requests.answer(_ENQUEUE, request_id) is None:
                _check_open(study)
                waiting = waiting_points(study.spec, await tx.trials.used_points(name))
                made = sum((await tx.studies.statistics(name)).trials_by_state.values())
                left = min(study.spec.max_trials - made, MAX_KNOWN_POINTS) - len(waiting)
                found = validate_known_points(study.spec.search_space, points, left, "known_points")
                if found:
                    raise InvalidArgument.of(found)
                await tx.studies.add_known_points(name, points)
                await tx.requests.remember(_ENQUEUE, request_id, [str(name)])
            return await _read(tx, name)

        if not points:
            raise InvalidArgument.of([FieldViolation("known_points", "are empty: give at least one")])
        return await self._changed(name, work)

    async def get(self, name: StudyName) -> Study:
        """Gives the study with its statistics."""
        return await self._storage.run(lambda tx: _read(tx, name))

    async def list(
        self,
        project: ProjectName,
        limit: int,
        after: StudyPlace | None = None,
        states: Sequence[StudyState] = (),
        tags: Tags = MappingProxyType({}),
    ) -> Sequence[Study]:
        """Gives studies with their statistics, the newest first, those behind the place.

        Only those in one of the states (none given: in any) that have all of the tags.
        """

        async def work(tx: Transaction) -> Sequence[Study]:
            studies = await tx.studies.list(project.project, limit, after, states, tags)
            return [await overview(tx, each) for each in studies]

        return await self._storage.run(work)

    async def cancel(self, name: StudyName, etag: str) -> Study:
        """Ends the study; its open trials become CANCELLED. A cancelled one is given as it is."""

        async def work(tx: Transaction) -> Study:
            if await self._is_moved(tx, name, etag, CANCEL_STUDY):
                trials = await tx.trials.open(name)
                await tx.trials.move(
                    name, [trial.name.number for trial in trials], CANCEL_TRIAL, "the study was cancelled"
                )
                await dissolve_allocated(tx, name)
            return await _read(tx, name)

        return await self._changed(name, work)

    async def pause(self, name: StudyName, etag: str) -> Study:
        """Starts no trial any more; running ones end their lease and keep their checkpoint."""

        async def work(tx: Transaction) -> Study:
            if await self._is_moved(tx, name, etag, PAUSE_STUDY):
                await dissolve_allocated(tx, name)
            return await _read(tx, name)

        return await self._changed(name, work)

    async def resume(self, name: StudyName, etag: str) -> Study:
        """Goes on where it was paused."""

        async def work(tx: Transaction) -> Study:
            await self._is_moved(tx, name, etag, RESUME_STUDY)
            return await _read(tx, name)

        return await self._changed(name, work)

    async def tag(self, name: StudyName, tags: Tags, removed: Sequence[str]) -> Study:
        """Adds tags and removes others, in any state."""

        async def work(tx: Transaction) -> Study:
            study = await tx.studies.lock(name)
            wanted = changed(study.tags, tags, removed)
            # A call that is sent twice changes the etag once.
            if wanted != study.tags:
                await tx.studies.set_tags(name, wanted)
            return await _read(tx, name)

        study = await self._storage.run(work)
        self._bell.ring()
        return study

    async def tag_trial(self, name: TrialName, tags: Tags, removed: Sequence[str]) -> Trial:
        """Adds tags to a trial and removes others, in any state."""

        async def work(tx: Transaction) -> Trial:
            await tx.studies.lock(name.study)
            trial = await tx.trials.get(name)
            wanted = changed(trial.tags, tags, removed)
            if wanted != trial.tags:
                await tx.trials.set_tags(name, wanted)
            return await tx.trials.get(name)

        trial = await self._storage.run(work)
        self._bell.ring()
        return trial

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

    async def _changed(self, name: StudyName, work: Callable[[Transaction], Awaitable[Answer]]) -> Answer:
        async with self._hot.exclusive(name):
            result = await self._storage.run(work)
        self._bell.ring()
        return result


async def _read(tx: Transaction, name: StudyName) -> Study:
    return await overview(tx, await tx.studies.get(name))


async def _adopted(tx: Transaction, spec: StudySpec) -> list[Adopted]:
    found: list[FieldViolation] = []
    adopted: list[Adopted] = []
    # The first prior is the oldest of the history.
    first = 0
    for index, prior in reversed(list(enumerate(spec.priors))):
        field = f"study.priors[{index}]"
        try:
            other = await tx.studies.get(prior.study)
        except NotFound:
            found.append(FieldViolation(f"{field}.study", f"{prior.study} does not exist: give one that does"))
            continue
        found += validate_prior(spec, prior, other, field)
        if not found:
            trials = await tx.trials.all(prior.study, TrialKind.SEARCH)
            adopted.append(adopt(spec, prior, trials, first))
            first -= len(adopted[-1].trials)
    if found:
        raise InvalidArgument.of(found)
    return adopted


def _check_open(study: Study) -> None:
    if study.state.has_ended:
        raise FailedPrecondition(f"{study.name} is {study.state.name}: it makes no trial any more")


def _check_etag(study: Study, etag: str) -> None:
    if etag and etag != study.etag:
        raise Aborted(f"{study.name} has changed since it was read (etag {study.etag}, not {etag}): read it again")


async def dissolve_allocated(tx: Transaction, name: StudyName) -> None:
    """Ends the study's bundles that no worker has taken."""
    for bundle in await tx.bundles.live(name):
        if bundle.state is BundleState.ALLOCATED:
            await tx.bundles.dissolve(bundle.number)
