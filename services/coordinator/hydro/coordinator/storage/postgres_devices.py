"""Devices in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, case, func, select, update
from sqlalchemy.dialects.postgresql import insert

from hydro.coordinator.bundle import BundleState
from hydro.coordinator.device import RETURN_DEVICE, Device, DeviceKind, DeviceState
from hydro.coordinator.lease import LeaseState
from hydro.coordinator.names import DeviceName, LeaseName
from hydro.coordinator.storage import schema
from hydro.coordinator.storage.documents import clean
from hydro.coordinator.storage.postgres_session import PostgresSession
from hydro.coordinator.transition import Transition
from hydro.kit.errors import NotFound

_DEVICE = schema.device
_NAME = _DEVICE.c.name.collate("C")


class PostgresDevices:
    """The devices of one transaction."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    async def put(self, device: Device) -> Device:
        """Stores a new device, or what is said of a known one."""
        said = {
            "kind": device.kind.value,
            "model": clean(device.model),
            "memory_bytes": device.memory_bytes,
            "cpu_cores": list(device.cpu_cores),
            "gpu_index": device.gpu_index,
            "duty_cycle": device.duty_cycle,
            "bubble_seconds": device.bubble_seconds,
            "source": device.source,
            "threads": device.threads,
        }
        is_back = _DEVICE.c.state == DeviceState.GONE.value
        state = case((is_back, RETURN_DEVICE.target.value), else_=_DEVICE.c.state)
        await self._session.execute(
            insert(_DEVICE)
            .values(name=str(device.name), state=DeviceState.READY.value, **said)
            .on_conflict_do_update(
                index_elements=[_DEVICE.c.name], set_={**said, "state": state, "update_time": func.now()}
            )
        )
        return await self.get(device.name)

    async def get(self, name: DeviceName) -> Device:
        """Gives the device."""
        row = await self._session.row(_joined().where(_DEVICE.c.name == str(name)))
        if row is None:
            raise NotFound(f"{name} does not exist: register it first")
        return device_of(row)

    async def list(self, after: str, limit: int) -> Sequence[Device]:
        """Gives devices in the order of their names."""
        query = _joined().where(after < _NAME).order_by(_NAME).limit(limit)
        return [device_of(row) for row in await self._session.rows(query)]

    async def all(self) -> Sequence[Device]:
        """Gives every device, in the order of their names."""
        return [device_of(row) for row in await self._session.rows(_joined().order_by(_NAME))]

    async def move(self, name: DeviceName, step: Transition[DeviceState]) -> Device:
        """Takes the step."""
        row = await self._session.row(
            update(_DEVICE)
            .where(_DEVICE.c.name == str(name), _DEVICE.c.state.in_([source.value for source in step.sources]))
            .values(state=step.target.value, update_time=func.now())
            .returning(_DEVICE.c.name)
        )
        device = await self.get(name)
        if row is None:
            raise step.refusal(name, device.state)
        return device


def _joined() -> Select[Any]:
    lease, bundle = schema.lease, schema.bundle
    return (
        select(_DEVICE, lease.c.fencing_token.label("lease"), bundle.c.number.label("bundle"))
        .outerjoin(lease, (lease.c.device == _DEVICE.c.name) & (lease.c.state == LeaseState.ACTIVE.value))
        .outerjoin(bundle, (bundle.c.device == _DEVICE.c.name) & (bundle.c.state != BundleState.ENDED.value))
    )


def device_of(row: Row[Any]) -> Device:
    """The device of a row."""
    return Device(
        name=DeviceName(row.name),
        kind=DeviceKind(row.kind),
        state=DeviceState(row.state),
        model=row.model,
        memory_bytes=row.memory_bytes,
        cpu_cores=tuple(row.cpu_cores),
        gpu_index=row.gpu_index,
        duty_cycle=row.duty_cycle,
        bubble_seconds=row.bubble_seconds,
        source=row.source,
        lease=None if row.lease is None else LeaseName(row.lease),
        bundle=row.bundle,
        update_time=row.update_time,
        threads=row.threads,
    )
