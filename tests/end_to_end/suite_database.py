"""The database of a suite, read and written beside its services."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg

from end_to_end.patience import PATIENCE_SECONDS
from hydro.client.suite.local import LocalSuite
from hydro.client.suite.postgres import prepare_postgres


class SuiteDatabase:
    """Connects anew for each statement, and waits for a server that is starting again."""

    def __init__(self, suite: LocalSuite) -> None:
        self._url = prepare_postgres(suite.data_directory / "postgres").url

    def sql(self, statement: str, *arguments: object) -> list[Any]:
        """Rows of a statement."""

        async def run() -> list[Any]:
            connection = await self._connection()
            try:
                if arguments or statement.lstrip().startswith("SELECT"):
                    return list(await connection.fetch(statement, *arguments))
                await connection.execute(statement)
                return []
            finally:
                await connection.close()

        return asyncio.run(run())

    async def _connection(self) -> Any:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return await asyncpg.connect(self._url)
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
                # It is starting again.
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.1)
