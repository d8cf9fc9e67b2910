"""Coordinators and what they own, in Postgres."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from hydro.coordinator.names import StudyName
from hydro.coordinator.ownership.owner import NotOwner
from hydro.coordinator.storage import schema
from hydro.coordinator.storage.postgres_session import PostgresSession
from hydro.kit.errors import NotFound

_COORDINATOR = schema.coordinator
_ALLOCATION = schema.allocation
_STUDY = schema.study
_FORGET = timedelta(hours=1)


class PostgresCoordinators:
    """The coordinators of one transaction."""

    def __init__(self, session: PostgresSession) -> None:
        self._session = session

    async def renew(self, name: str, address: str, seconds: float) -> None:
        """Makes the coordinator's row, or puts off its expiry."""
        expire_time = func.clock_timestamp() + timedelta(seconds=seconds)
        await self._session.execute(
            insert(_COORDINATOR)
            .values(id=name, address=address, expire_time=expire_time)
            .on_conflict_do_update(index_elements=[_COORDINATOR.c.id], set_={"expire_time": expire_time})
        )

    async def replace(self, name: str, address: str) -> None:
        """Removes the others at the address, and rows of long ago."""
        is_same = (_COORDINATOR.c.address == address) & (_COORDINATOR.c.address != "")
        is_old = _COORDINATOR.c.expire_time < func.clock_timestamp() - _FORGET
        await self._session.execute(delete(_COORDINATOR).where(_COORDINATOR.c.id != name, or_(is_same, is_old)))

    async def leave(self, name: str) -> None:
        """Removes the coordinator's row: what it owns is free."""
        await self._session.execute(delete(_COORDINATOR).where(_COORDINATOR.c.id == name))

    async def owner_of(self, study: StudyName) -> str | None:
        """Gives the address of the living coordinator that decides about the study; None: there is none."""
        row = await self._session.row(select(_STUDY.c.owner, _STUDY.c.task).where(_STUDY.c.name == str(study)))
        if row is None:
            raise NotFound(f"{study} does not exist")
        return await (self.allocation_owner() if row.task is not None else self._address(row.owner))

    async def allocation_owner(self) -> str | None:
        """Gives the address of the living coordinator that allocates; None: there is none."""
        row = await self._session.row(select(_ALLOCATION.c.owner))
        return None if row is None else await self._address(row.owner)

    async def take_allocation(self, name: str) -> int | None:
        """Makes the coordinator allocation's owner, and gives its epoch. None: another one is, and lives."""
        row = await self._session.row(
            update(_ALLOCATION)
            .where(is_free(_ALLOCATION.c.owner, name))
            .values(owner=name, epoch=_ALLOCATION.c.epoch + 1)
            .returning(_ALLOCATION.c.epoch)
        )
        return None if row is None else int(row.epoch)

    async def hold_allocation(self, epoch: int) -> None:
        """Keeps others from taking allocation over until the transaction ends."""
        row = await self._session.row(
            select(_ALLOCATION.c.epoch).where(_ALLOCATION.c.epoch == epoch).with_for_update(read=True)
        )
        if row is None:
            raise NotOwner("another coordinator allocates")

    async def _address(self, name: str) -> str | None:
        is_alive = (_COORDINATOR.c.id == name) & (_COORDINATOR.c.expire_time > func.clock_timestamp())
        row = await self._session.row(select(_COORDINATOR.c.address).where(is_alive))
        return None if row is None else str(row.address)


def is_free(owner: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """Whether the coordinator may take over what the column's coordinator owns: its own, and that of dead ones."""
    alive = select(_COORDINATOR.c.id).where(
        _COORDINATOR.c.id == owner, _COORDINATOR.c.expire_time > func.clock_timestamp()
    )
    return or_(owner == name, ~alive.exists())
