"""Leases: a worker gets the bundle that is allocated to its device, keeps it alive, and gives it back."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import structlog

from hydro.coordinator.bell import Bell
from hydro.coordinator.device import LOSE_DEVICE, Device, DeviceState
from hydro.coordinator.lease import EXPIRE_LEASE, RELEASE_LEASE, Lease, LeaseState, lease_lost
from hydro.coordinator.names import DeviceName, LeaseName
from hydro.coordinator.pruners import Pruners
from hydro.coordinator.recipe import Grant, recipe_of
from hydro.coordinator.reporting import release_requested
from hydro.coordinator.retrying import after_loss, after_refusal
from hydro.coordinator.squeezer import Squeezer
from hydro.coordinator.storage.storage import Storage, Transaction
from hydro.coordinator.storage.trial_values import NewRetry
from hydro.coordinator.study import FAIL_STUDY, Study, StudyState
from hydro.coordinator.trial import FAIL_TRIAL, Trial, TrialState
from hydro.kit.clock import Clock
from hydro.kit.errors import HydroError, NotFound

_log = structlog.get_logger()
_METHOD = "AcquireLease"
LONGEST_WAIT_SECONDS = 30.0


class Renewal(NamedTuple):
    """A renewed lease, and whether its worker should release it."""

    lease: Lease
    release_requested: bool


class Leasing:
    """Gives leases out and takes them back; a slot is claimed with its lease and released with it."""

    def __init__(
        self,
        storage: Storage,
        pruners: Pruners,
        bell: Bell,
        clock: Clock,
        squeezers: Sequence[Squeezer],
        lease_seconds: float,
    ) -> None:
        self._storage = storage
        self._pruners = pruners
        self._bell = bell
        self._clock = clock
        self._squeezers = {squeezer.source: squeezer for squeezer in squeezers}
        self.lease_seconds = lease_seconds
        self._waiting: Counter[DeviceName] = Counter()
        self._reclaimed: set[LeaseName] = set()

    async def acquire(self, device: DeviceName, worker: str, request_id: str, wait_seconds: float) -> Grant | None:
        """Gives the bundle that is allocated to the device; waits for one. None: none came.

        Raises:
            NotFound: there is no such device.
        """
        self._waiting[device] += 1
        try:
            return await self._acquired(device, worker, request_id, wait_seconds)
        finally:
            self._waiting[device] -= 1

    def has_waiting_worker(self, device: DeviceName) -> bool:
        """Whether a worker asks for work on the device right now."""
        return self._waiting[device] > 0

    async def _acquired(self, device: DeviceName, worker: str, request_id: str, wait_seconds: float) -> Grant | None:
        end = self._clock.monotonic() + min(wait_seconds, LONGEST_WAIT_SECONDS)
        # Allocation has to see that this worker waits.
        self._bell.ring()
        while True:
            ticket = self._bell.ticket()
            grant = await self._storage.run(lambda tx: self._grant(tx, device, worker, request_id))
            if grant is not None:
                return await self._claimed(grant)
            left = end - self._clock.monotonic()
            if left <= 0:
                return None
            # Looks again from time to time: another process may have allocated.
            await self._bell.wait(ticket, min(left, 1.0))

    def reclaim(self, name: LeaseName) -> bool:
        """Has the worker asked, when it renews the lease, to checkpoint its lanes and release; False: it was before."""
        is_new = name not in self._reclaimed
        self._reclaimed.add(name)
        return is_new

    async def renew(self, name: LeaseName, fencing_token: int) -> Renewal:
        """Puts off the expiry. Raises FailedPrecondition (LEASE_LOST)."""
        return await self._storage.run(lambda tx: self._renew(tx, name, fencing_token))

    async def release(self, name: LeaseName, fencing_token: int, failure: str = "", failure_reason: str = "") -> None:
        """Ends the lease: its open trials return to PENDING, or fail when they were given up too often.

        Raises:
            FailedPrecondition: LEASE_LOST, when it has expired.
        """
        lease = await self._storage.run(lambda tx: self._release(tx, name, fencing_token, failure, failure_reason))
        self._reclaimed.discard(name)
        if lease is not None:
            await self._release_slot(lease)
        self._bell.ring()

    async def expire(self, leases: Mapping[Lease, str]) -> None:
        """Ends leases whose time is over, or whose worker is dead.

        Args:
            leases: To each what it was lost by, as far as its trials may be to blame; empty: they are not.
        """
        for lease, reason in leases.items():
            if await self._storage.run(partial(self._expire, lease=lease, reason=reason)):
                self._reclaimed.discard(lease.name)
                _log.warning("lease expired", lease=str(lease.name), device=str(lease.device), worker=lease.worker)
                await self._release_slot(lease)
                self._bell.ring()

    async def _grant(self, tx: Transaction, device: DeviceName, worker: str, request_id: str) -> Grant | None:
        known = await tx.devices.get(device)
        lease = await self._answered(tx, request_id)
        if lease is None and known.state is DeviceState.READY:
            lease = await tx.leases.acquire(device, worker, self.lease_seconds)
            if lease is not None:
                await tx.requests.remember(_METHOD, request_id, [str(lease.name)])
        if lease is None:
            return None
        return Grant(lease, await recipe_of(tx, await tx.bundles.get(lease.bundle)), known.memory_bytes)

    async def _answered(self, tx: Transaction, request_id: str) -> Lease | None:
        answer = await tx.requests.answer(_METHOD, request_id)
        if answer is None:
            return None
        with contextlib.suppress(NotFound):
            lease = await tx.leases.get(LeaseName.parse(answer[0]))
            if lease.state is LeaseState.ACTIVE:
                return lease
        return None

    async def _claimed(self, grant: Grant) -> Grant | None:
        device = await self._storage.run(lambda tx: tx.devices.get(grant.lease.device))
        squeezer = self._squeezers.get(device.source)
        if squeezer is None:
            return grant
        try:
            gate = await squeezer.claim(device.name, grant.lease.name)
        except HydroError as error:
            _log.warning("slot cannot be claimed", slot=str(device.name), error=str(error))
            await self._give_up(grant.lease, device, error)
            return None
        return replace(grant, gate=gate)

    async def _give_up(self, lease: Lease, device: Device, error: HydroError) -> None:
        async def work(tx: Transaction) -> None:
            await tx.leases.end(lease.name, lease.fencing_token, RELEASE_LEASE)
            current = await tx.devices.get(device.name)
            if isinstance(error, NotFound) and LOSE_DEVICE.allows(current.state):
                await tx.devices.move(device.name, LOSE_DEVICE)

        await self._storage.run(work)
        self._bell.ring()

    async def _renew(self, tx: Transaction, name: LeaseName, fencing_token: int) -> Renewal:
        lease = await tx.leases.renew(name, fencing_token, self.lease_seconds)
        bundle = await tx.bundles.get(lease.bundle)
        study = await tx.studies.get(bundle.plan.study)
        device = await tx.devices.get(lease.device)
        return Renewal(lease, name in self._reclaimed or release_requested(study, bundle, device))

    async def _release(
        self, tx: Transaction, name: LeaseName, fencing_token: int, failure: str, failure_reason: str
    ) -> Lease | None:
        try:
            known = await tx.leases.get(name)
        except NotFound:
            raise lease_lost(name, fencing_token) from None
        if known.state is LeaseState.RELEASED and known.fencing_token == fencing_token:
            return None
        lanes = await _running(tx, known)
        lease = await tx.leases.end(name, fencing_token, RELEASE_LEASE)
        if lease is None:
            raise lease_lost(name, fencing_token)
        if failure:
            study = await self._blame(tx, lease, lanes, failure, was_lost=False)
            if failure_reason and FAIL_STUDY.allows(study.state) and study.state is not StudyState.PREPARING:
                await tx.studies.move(study.name, FAIL_STUDY, f"{failure_reason}: {failure}")
        return lease

    async def _expire(self, tx: Transaction, lease: Lease, reason: str) -> Lease | None:
        lanes = await _running(tx, lease)
        ended = await tx.leases.end(lease.name, lease.fencing_token, EXPIRE_LEASE)
        if ended is not None and reason:
            await self._blame(tx, ended, lanes, reason, was_lost=True)
        return ended

    async def _blame(
        self, tx: Transaction, lease: Lease, lanes: Sequence[Trial], reason: str, *, was_lost: bool
    ) -> Study:
        """Notes that the run of these trials went wrong; those that were run often enough fail."""
        study = await tx.studies.lock((await tx.bundles.get(lease.bundle)).plan.study)
        max_retries = study.spec.endurance.max_retries
        has_run = was_lost or (await tx.studies.statistics(study.name)).trial_steps > 0
        for lane in lanes:
            judged = (
                after_loss(lane, len(lanes), max_retries, trains_together=study.spec.population is not None)
                if has_run
                else after_refusal(lane, max_retries)
            )
            retry = NewRetry(reason, lane.checkpoint_steps, len(lanes))
            number = lane.name.number
            counts = {"failures": judged.failures, "lane_limit": judged.lane_limit}
            await tx.trials.note_retry(study.name, number, retry, **counts)
            if judged.has_failed:
                said = f"its worker was lost {judged.failures} times: {reason}" if was_lost else reason
                await tx.trials.move(study.name, [number], FAIL_TRIAL, said)
                self._pruners.drop(study)
        return study

    async def _release_slot(self, lease: Lease) -> None:
        device = await self._storage.run(lambda tx: tx.devices.get(lease.device))
        squeezer = self._squeezers.get(device.source)
        if squeezer is None:
            return
        try:
            await squeezer.release(device.name, lease.name)
        except HydroError as error:
            # A later claim has a higher fencing token and takes the slot over all the same.
            _log.warning("slot cannot be released", slot=str(device.name), error=str(error))


async def _running(tx: Transaction, lease: Lease) -> list[Trial]:
    return [lane for lane in await tx.trials.in_bundle(lease.bundle) if lane.state is TrialState.RUNNING]
