"""What a worker's report message does: one transaction for all lanes, and a verdict for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from hydro.coordinator.bell import Bell
from hydro.coordinator.bundle import Bundle, MemoryMiss
from hydro.coordinator.device import Device, DeviceKind, DeviceState
from hydro.coordinator.evolution.evolve import Clone, clones
from hydro.coordinator.fitting import fits_of
from hydro.coordinator.judgement import LaneReport, judge
from hydro.coordinator.lease import Lease, lease_lost
from hydro.coordinator.names import LeaseName, StudyName, TrialName
from hydro.coordinator.pruners import Pruners
from hydro.coordinator.quotas import ReportRates
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.coordinator.study import Study, StudyState
from hydro.coordinator.trial import Trial, TrialKind, TrialState, Verdict
from hydro.kit.errors import NotFound


@dataclass(frozen=True, slots=True)
class ReportMessage:
    """Every lane that has something to say. Units: seconds of device time since the last message."""

    lease: LeaseName
    fencing_token: int
    sequence: int
    reports: tuple[LaneReport, ...] = ()
    free_lanes: int = 0
    device_seconds: float = 0.0
    fusion_count: int = 0
    misses: tuple[MemoryMiss, ...] = ()


@dataclass(frozen=True, slots=True)
class ReportAnswer:
    """What the lanes do next, and trials to take in."""

    sequence: int
    verdicts: tuple[tuple[TrialName, Verdict], ...]
    insertions: tuple[Trial, ...]
    clones: tuple[Clone, ...]
    expire_time: datetime
    release_requested: bool


@dataclass(frozen=True, slots=True)
class _Round:
    """What a report message is about, as it stands when its transaction starts."""

    message: ReportMessage
    study: Study
    bundle: Bundle
    device: Device
    lease: Lease
    lanes: tuple[Trial, ...]

    @property
    def release_requested(self) -> bool:
        return release_requested(self.study, self.bundle, self.device)


class Reporting:
    """Takes report messages, as often as `rates` allow. `ask` makes new trials of a study, if it may have more."""

    def __init__(
        self,
        storage: Storage,
        pruners: Pruners,
        bell: Bell,
        lease_seconds: float,
        ask: Callable[[StudyName], Awaitable[int]],
        rates: ReportRates,
    ) -> None:
        self._storage = storage
        self._pruners = pruners
        self._bell = bell
        self._lease_seconds = lease_seconds
        self._ask = ask
        self._rates = rates

    async def report(self, message: ReportMessage) -> ReportAnswer:
        """Stores the message and decides, in one transaction.

        A message sent again gets the verdicts and the insertions of the first time.

        Raises:
            FailedPrecondition: LEASE_LOST.
            ResourceExhausted: QUOTA_EXCEEDED, its project measures too often: nothing is stored, send it again.
        """
        study = await self._storage.run(lambda tx: _study_of(tx, message))
        measured = sum(each.measurement is not None for each in message.reports)
        if measured:
            self._rates.take(study.name.project, measured)
        answer, room = await self._decided(study, message)
        if room and await self._ask(study.name):
            more = await self._storage.run(lambda tx: self._insert(tx, study.name, message))
            answer = _with_insertions(answer, more)
        self._bell.ring()
        return answer

    async def _decided(self, study: Study, message: ReportMessage) -> tuple[ReportAnswer, int]:
        async with self._pruners.lock(study.name):
            attempts = 0

            async def work(tx: Transaction) -> tuple[ReportAnswer, int]:
                nonlocal attempts
                attempts += 1
                if attempts > 1:
                    # The attempt before told the pruner what was not stored.
                    self._pruners.drop(study)
                return await self._take(tx, study.name, message)

            try:
                return await self._storage.run(work)
            except BaseException:
                self._pruners.drop(study)
                raise

    async def _take(self, tx: Transaction, name: StudyName, message: ReportMessage) -> tuple[ReportAnswer, int]:
        study = await tx.studies.lock(name)
        before = await tx.leases.get(message.lease)
        lease = await tx.leases.renew(message.lease, message.fencing_token, self._lease_seconds, message.sequence)
        bundle = await tx.bundles.get(lease.bundle)
        device = await tx.devices.get(lease.device)
        lanes = await tx.trials.in_bundle(bundle.number)
        turn = _Round(message, study, bundle, device, lease, tuple(lanes))
        if message.sequence <= before.sequence:
            return await _again(tx, turn), 0
        return await self._first(tx, turn)

    async def _first(self, tx: Transaction, turn: _Round) -> tuple[ReportAnswer, int]:
        message, bundle = turn.message, turn.bundle
        turn = await _account(tx, turn)
        on_slot = turn.device.kind is DeviceKind.SLOT
        pruner = await self._pruners.of(tx, turn.study)
        verdicts = await judge(tx, turn.study, bundle, pruner, turn.lanes, message.reports, on_slot=on_slot)
        freed = sum(verdict is not Verdict.CONTINUE for _, verdict in verdicts)
        room = min(message.free_lanes + freed, bundle.plan.max_lanes - len(turn.lanes) + freed)
        if turn.release_requested or bundle.plan.kind is TrialKind.TARGET:
            room = 0
        inserted = await insert_trials(tx, turn.study, bundle, room, message.sequence)
        return _answer(turn, verdicts, inserted, await _clones(tx, turn, verdicts)), room - len(inserted)

    async def _insert(self, tx: Transaction, name: StudyName, message: ReportMessage) -> Sequence[Trial]:
        study = await tx.studies.lock(name)
        lease = await tx.leases.renew(message.lease, message.fencing_token, self._lease_seconds)
        bundle = await tx.bundles.get(lease.bundle)
        device = await tx.devices.get(lease.device)
        if release_requested(study, bundle, device):
            return await tx.trials.inserted(bundle.number, message.sequence)
        room = bundle.plan.max_lanes - len(await tx.trials.in_bundle(bundle.number))
        await insert_trials(tx, study, bundle, room, message.sequence)
        return await tx.trials.inserted(bundle.number, message.sequence)


def release_requested(study: Study, bundle: Bundle, device: Device) -> bool:
    """Whether the worker should checkpoint its lanes and release."""
    if device.state is not DeviceState.READY:
        return True
    if bundle.plan.kind is TrialKind.TARGET:
        return study.state in (StudyState.PAUSED, StudyState.FAILED, StudyState.CANCELLED)
    return study.state is not StudyState.SEARCHING


async def insert_trials(tx: Transaction, study: Study, bundle: Bundle, room: int, sequence: int) -> tuple[Trial, ...]:
    """Starts fitting PENDING trials in the running bundle: the most advanced first, within the study's parallelism."""
    fits = await fits_of(tx, study)
    if room <= 0 or fits is None:
        return ()
    search = [trial for trial in await tx.trials.open(study.name) if trial.kind is TrialKind.SEARCH]
    active = sum(trial.state is TrialState.RUNNING or trial.bundle is not None for trial in search)
    fitting = [
        trial
        for trial in search
        if trial.state is TrialState.PENDING
        and trial.bundle is None
        and fits(trial.hyperparameters, bundle.plan.structure)
        and not trial.lane_limit
    ]
    chosen = sorted(fitting, key=lambda trial: -trial.steps)[: max(0, min(room, study.spec.parallelism - active))]
    joined = await tx.trials.join(study.name, [trial.name.number for trial in chosen], bundle.number, sequence)
    return tuple(trial for trial in chosen if trial.name.number in joined)


async def _study_of(tx: Transaction, message: ReportMessage) -> Study:
    try:
        lease = await tx.leases.get(message.lease)
        bundle = await tx.bundles.get(lease.bundle)
        return await tx.studies.get(bundle.plan.study)
    except NotFound:
        # The study was deleted, and everything of it.
        raise lease_lost(message.lease, message.fencing_token) from None


async def _account(tx: Transaction, turn: _Round) -> _Round:
    """Counts the device's time; gives the round with its lanes as they are then."""
    message, numbers = turn.message, [lane.name.number for lane in turn.lanes]
    await tx.bundles.note(turn.bundle.number, message.fusion_count, message.device_seconds)
    if message.misses and turn.bundle.plan.kind is TrialKind.SEARCH:
        await tx.surrogates.note_misses(turn.study.name, turn.device.name, message.misses)
    if not numbers or message.device_seconds <= 0:
        return turn
    share = message.device_seconds / len(numbers)
    await tx.trials.add_device_seconds(turn.study.name, numbers, share)
    return replace(turn, lanes=tuple(replace(lane, device_seconds=lane.device_seconds + share) for lane in turn.lanes))


async def _again(tx: Transaction, turn: _Round) -> ReportAnswer:
    running = {lane.name for lane in turn.lanes if lane.state is TrialState.RUNNING}
    asking = [each for each in turn.message.reports if each.asks]
    keys = {each.trial: (each.trial.number, each.measurement.step if each.measurement else -1) for each in asking}
    stands = await tx.trials.standing(turn.study.name, list(keys.values()))
    verdicts = []
    for trial, key in keys.items():
        otherwise = Verdict.CONTINUE if trial in running else Verdict.STOP
        verdicts.append((trial, stands[key].verdict if key in stands else otherwise))
    inserted = await tx.trials.inserted(turn.bundle.number, turn.message.sequence)
    return _answer(turn, verdicts, inserted, await _clones(tx, turn, verdicts))


async def _clones(tx: Transaction, turn: _Round, verdicts: Sequence[tuple[TrialName, Verdict]]) -> tuple[Clone, ...]:
    """What has been decided of the lanes that go on: the same when the message is sent again."""
    if turn.study.spec.population is None or turn.bundle.plan.kind is not TrialKind.SEARCH:
        return ()
    going_on = {trial for trial, verdict in verdicts if verdict is Verdict.CONTINUE}
    measured = [
        (each.trial, each.measurement.step)
        for each in turn.message.reports
        if each.measurement is not None and each.trial in going_on
    ]
    return await clones(tx, turn.study.name, measured)


def _answer(
    turn: _Round,
    verdicts: Sequence[tuple[TrialName, Verdict]],
    insertions: Sequence[Trial],
    cloned: tuple[Clone, ...],
) -> ReportAnswer:
    return ReportAnswer(
        sequence=turn.message.sequence,
        verdicts=tuple(verdicts),
        insertions=tuple(insertions),
        clones=cloned,
        expire_time=turn.lease.expire_time,
        release_requested=turn.release_requested,
    )


def _with_insertions(answer: ReportAnswer, insertions: Sequence[Trial]) -> ReportAnswer:
    return replace(answer, insertions=tuple(insertions))
