"""What the tables' adapters share within one transaction: the connection, and each study's new revision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Executable, Row, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hydro.coordinator.names import StudyName
from hydro.coordinator.storage import schema
from hydro.kit.errors import NotFound


class PostgresSession:
    """One transaction on one connection."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._revisions: dict[StudyName, int] = {}

    async def rows(self, statement: Executable) -> Sequence[Row[Any]]:
        """Runs the statement and gives its rows."""
        return (await self._connection.execute(statement)).all()

    async def row(self, statement: Executable) -> Row[Any] | None:
        """Runs the statement and gives its row, if there is one."""
        return (await self._connection.execute(statement)).one_or_none()

    async def execute(self, statement: Executable) -> None:
        """Runs the statement."""
        await self._connection.execute(statement)

    async def touch(self, study: StudyName) -> int:
        """The revision of this transaction's changes to the study.

        Taking it locks the study's row: writers of one study take turns, so revisions are committed in their order.
        """
        if study not in self._revisions:
            found = await self.row(
                update(schema.study)
                .where(schema.study.c.name == str(study))
                .values(revision=schema.study.c.revision + 1)
                .returning(schema.study.c.revision)
            )
            if found is None:
                raise NotFound(f"{study} does not exist")
            self._revisions[study] = found.revision
        return self._revisions[study]
