"""Leases in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert

from hydro.coordinator.bundle import START_BUNDLE, BundleState
from hydro.coordinator.lease import Lease, LeaseState, lease_lost
from hydro.coordinator.names import DeviceName, LeaseName, StudyName
from hydro.coordinator.storage import schema
from hydro.coordinator.storage.documents import clean
from hydro.coordinator.storage.postgres_bundles import end_bundle
from hydro.coordinator.storage.postgres_session import PostgresSession
from hydro.coordinator.transition import Transition
from hydro.coordinator.trial import RETURN_TRIAL, START_TRIAL
from hydro.kit.errors import NotFound

_LEASE = schema.lease
_BUNDLE = schema.bundle
_TRIAL = schema.trial
_ACTIVE = LeaseState.ACTIVE.value


class PostgresLeases:
    """The leases of one transaction."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    async def acquire(self, device: DeviceName, worker: str, seconds: float) -> Lease | None:
        """Starts the bundle that is allocated to the device, and its trials."""
        sources = [state.value for state in START_BUNDLE.sources]
        waiting = (_BUNDLE.c.device == str(device)) & _BUNDLE.c.state.in_(sources)
        bundle = await self._session.row(select(_BUNDLE.c.number, _BUNDLE.c.study).where(waiting))
        if bundle is None:
            return None
        # The study first: everyone locks in this order.
        revision = await self._session.touch(StudyName.parse(bundle.study))
        started = await self._session.row(
            update(_BUNDLE)
            .where(_BUNDLE.c.number == bundle.number, waiting)
            .values(state=START_BUNDLE.target.value)
            .returning(_BUNDLE.c.number)
        )
        if started is None:
            return None
        trials = await self._session.rows(
            update(_TRIAL)
            .where(_TRIAL.c.bundle == bundle.number, _TRIAL.c.state.in_([state.value for state in START_TRIAL.sources]))
            .values(state=START_TRIAL.target.value, state_reason="", revision=revision)
            .returning(_TRIAL.c.number)
        )
        if not trials:
            await end_bundle(self._session, bundle.number, BundleState.RUNNING)
            return None
        row = await self._session.row(
            insert(_LEASE)
            .values(
                bundle=bundle.number,
                device=str(device),
                worker=clean(worker),
                state=_ACTIVE,
                expire_time=_in_future(seconds),
            )
            .returning(_LEASE)
        )
        return None if row is None else lease_of(row)

    async def get(self, name: LeaseName) -> Lease:
        """Gives the lease, whatever its state."""
        row = await self._session.row(select(_LEASE).where(_LEASE.c.fencing_token == name.fencing_token))
        if row is None:
            raise NotFound(f"{name} does not exist")
        return lease_of(row)

    async def renew(self, name: LeaseName, fencing_token: int, seconds: float, sequence: int | None = None) -> Lease:
        """Puts off the expiry, and notes the report message."""
        values: dict[str, Any] = {"expire_time": _in_future(seconds)}
        if sequence is not None:
            values["sequence"] = func.greatest(_LEASE.c.sequence, sequence)
        row = await self._session.row(
            update(_LEASE).where(*_held(name, fencing_token)).values(**values).returning(_LEASE)
        )
        if row is None:
            raise lease_lost(name, fencing_token)
        return lease_of(row)

    async def end(self, name: LeaseName, fencing_token: int, step: Transition[LeaseState]) -> Lease | None:
        """Ends an active lease and its bundle; running trials return to PENDING."""
        found = await self._session.row(
            select(_BUNDLE.c.study, _BUNDLE.c.number)
            .join(_LEASE, _LEASE.c.bundle == _BUNDLE.c.number)
            .where(*_held(name, fencing_token))
        )
        if found is None:
            return None
        revision = await self._session.touch(StudyName.parse(found.study))
        row = await self._session.row(
            update(_LEASE)
            .where(*_held(name, fencing_token))
            .values(state=step.target.value, expire_time=func.clock_timestamp())
            .returning(_LEASE)
        )
        if row is None:
            return None
        await end_bundle(self._session, found.number, BundleState.RUNNING)
        await self._session.execute(
            update(_TRIAL)
            .where(_TRIAL.c.bundle == found.number, _TRIAL.c.state.in_([state.value for state in RETURN_TRIAL.sources]))
            .values(state=RETURN_TRIAL.target.value, bundle=None, inserted_sequence=0, revision=revision)
        )
        return lease_of(row)

    async def overdue(self) -> Sequence[Lease]:
        """Gives the active leases whose time is over by the database's clock."""
        query = select(_LEASE).where(_LEASE.c.state == _ACTIVE, _LEASE.c.expire_time < func.clock_timestamp())
        return [lease_of(row) for row in await self._session.rows(query.order_by(_LEASE.c.fencing_token))]

    async def active(self) -> Sequence[Lease]:
        """Gives every active lease."""
        query = select(_LEASE).where(_LEASE.c.state == _ACTIVE)
        return [lease_of(row) for row in await self._session.rows(query.order_by(_LEASE.c.fencing_token))]


def _held(name: LeaseName, fencing_token: int) -> list[Any]:
    same = name.fencing_token == fencing_token
    return [_LEASE.c.fencing_token == (fencing_token if same else 0), _LEASE.c.state == _ACTIVE]


def _in_future(seconds: float) -> Any:
    return func.clock_timestamp() + timedelta(seconds=seconds)


def lease_of(row: Row[Any]) -> Lease:
    """The lease of a row."""
    return Lease(
        name=LeaseName(row.fencing_token),
        bundle=row.bundle,
        device=DeviceName(row.device),
        worker=row.worker,
        state=LeaseState(row.state),
        expire_time=row.expire_time,
        sequence=row.sequence,
    )
