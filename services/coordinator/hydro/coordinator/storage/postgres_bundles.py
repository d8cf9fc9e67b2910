"""Bundles in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Row, and_, func, select, update
from sqlalchemy.dialects.postgresql import insert

from hydro.coordinator.bundle import END_BUNDLE, Bundle, BundleState, Execution, PlannedBundle
from hydro.coordinator.device import DeviceState
from hydro.coordinator.names import DeviceName, StudyName
from hydro.coordinator.storage import schema
from hydro.coordinator.storage.postgres_session import PostgresSession
from hydro.coordinator.trial import TrialKind, TrialState
from hydro.kit.errors import NotFound

_BUNDLE = schema.bundle
_TRIAL = schema.trial
_DEVICE = schema.device


class PostgresBundles:
    """The bundles of one transaction."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    async def insert(self, plan: PlannedBundle, device: DeviceName) -> Bundle | None:
        """Allocates the plan to the device, and its PENDING trials to the bundle."""
        revision = await self._session.touch(plan.study)
        free = await self._session.rows(
            select(_TRIAL.c.number)
            .where(
                _TRIAL.c.study == str(plan.study),
                _TRIAL.c.number.in_(plan.trials),
                _TRIAL.c.state == TrialState.PENDING.value,
                _TRIAL.c.bundle.is_(None),
            )
            .with_for_update()
        )
        # A share lock keeps the device from being drained or lost while the bundle is put on it.
        is_ready = and_(_DEVICE.c.name == str(device), _DEVICE.c.state == DeviceState.READY.value)
        ready = await self._session.row(select(_DEVICE.c.name).where(is_ready).with_for_update(read=True))
        if len(free) != len(plan.trials) or ready is None:
            return None
        row = await self._session.row(
            insert(_BUNDLE).values(_columns(plan, device)).on_conflict_do_nothing().returning(_BUNDLE)
        )
        if row is None:
            return None
        await self._session.execute(
            update(_TRIAL)
            .where(_TRIAL.c.study == str(plan.study), _TRIAL.c.number.in_(plan.trials))
            .values(bundle=row.number, inserted_sequence=0, revision=revision)
        )
        return bundle_of(row, plan.trials)

    async def get(self, number: int) -> Bundle:
        """Gives the bundle."""
        row = await self._session.row(select(_BUNDLE).where(_BUNDLE.c.number == number))
        if row is None:
            raise NotFound(f"bundle {number} does not exist")
        return bundle_of(row)

    async def live(self, study: StudyName | None = None) -> Sequence[Bundle]:
        """Gives the bundles that have not ended."""
        query = select(_BUNDLE).where(_BUNDLE.c.state != BundleState.ENDED.value)
        if study is not None:
            query = query.where(_BUNDLE.c.study == str(study))
        return [bundle_of(row) for row in await self._session.rows(query.order_by(_BUNDLE.c.number))]

    async def unclaimed(self, seconds: float) -> Sequence[Bundle]:
        """Gives the ALLOCATED bundles that no worker has taken for so long by the database's clock."""
        is_old = _BUNDLE.c.create_time < func.clock_timestamp() - timedelta(seconds=seconds)
        query = select(_BUNDLE).where(_BUNDLE.c.state == BundleState.ALLOCATED.value, is_old)
        return [bundle_of(row) for row in await self._session.rows(query.order_by(_BUNDLE.c.number))]

    async def note(self, number: int, fusion_count: int, device_seconds: float) -> None:
        """Adds device time, and raises the largest fusion count."""
        await self._session.execute(
            update(_BUNDLE)
            .where(_BUNDLE.c.number == number)
            .values(
                max_fusion_count=func.greatest(_BUNDLE.c.max_fusion_count, fusion_count),
                device_seconds=_BUNDLE.c.device_seconds + device_seconds,
            )
        )

    async def dissolve(self, number: int) -> bool:
        """Ends an ALLOCATED bundle that no worker has taken; its trials are free again."""
        bundle = await self.get(number)
        revision = await self._session.touch(bundle.plan.study)
        if not await end_bundle(self._session, number, BundleState.ALLOCATED):
            return False
        await self._session.execute(
            update(_TRIAL).where(_TRIAL.c.bundle == number).values(bundle=None, revision=revision)
        )
        return True


async def end_bundle(session: PostgresSession, number: int, state: BundleState) -> bool:
    """Ends the bundle while it is in the state; False when it is not."""
    if not END_BUNDLE.allows(state):
        return False
    row = await session.row(
        update(_BUNDLE)
        .where(_BUNDLE.c.number == number, _BUNDLE.c.state == state.value)
        .values(state=END_BUNDLE.target.value, end_time=func.now())
        .returning(_BUNDLE.c.number)
    )
    return row is not None


def _columns(plan: PlannedBundle, device: DeviceName) -> dict[str, Any]:
    return {
        "study": str(plan.study),
        "kind": plan.kind.value,
        "state": BundleState.ALLOCATED.value,
        "device": str(device),
        "execution": plan.execution.value,
        "max_lanes": plan.max_lanes,
        "micro_lanes": plan.micro_lanes,
        "threads": plan.threads,
        "memory_bytes": plan.memory_bytes,
        "segment_seconds": plan.segment_seconds,
        "structure": dict(plan.structure),
    }


def bundle_of(row: Row[Any], trials: tuple[int, ...] = ()) -> Bundle:
    """The bundle of a row. Its trials are read by `Trials.in_bundle`: they come and go."""
    plan = PlannedBundle(
        study=StudyName.parse(row.study),
        kind=TrialKind(row.kind),
        trials=trials,
        execution=Execution(row.execution),
        max_lanes=row.max_lanes,
        micro_lanes=row.micro_lanes,
        threads=row.threads,
        memory_bytes=row.memory_bytes,
        segment_seconds=row.segment_seconds,
        structure=row.structure,
    )
    return Bundle(row.number, plan, DeviceName(row.device), BundleState(row.state))
