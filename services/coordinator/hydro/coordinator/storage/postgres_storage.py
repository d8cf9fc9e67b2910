"""Storage in Postgres, by SQLAlchemy Core over asyncpg."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import asyncpg
import structlog
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_delay, wait_random_exponential

from hydro.coordinator.storage.migration import migrate
from hydro.coordinator.storage.passing import is_passing
from hydro.coordinator.storage.postgres_bundles import PostgresBundles
from hydro.coordinator.storage.postgres_coordinators import PostgresCoordinators
from hydro.coordinator.storage.postgres_devices import PostgresDevices
from hydro.coordinator.storage.postgres_leases import PostgresLeases
from hydro.coordinator.storage.postgres_records import PostgresRequests, PostgresSurrogates
from hydro.coordinator.storage.postgres_session import PostgresSession
from hydro.coordinator.storage.postgres_studies import PostgresStudies
from hydro.coordinator.storage.postgres_trials import PostgresTrials
from hydro.coordinator.storage.storage import Answer, Transaction
from hydro.kit.errors import Unavailable

_log = structlog.get_logger()

RETRY_SECONDS = 25.0
COMMAND_SECONDS = 20.0
"""A statement without an answer for so long is on a dead connection: locks are held for ten seconds at most."""
# A process that is frozen inside a transaction must not hold its locks for longer: others wait for them.
_SERVER_SETTINGS = {"idle_in_transaction_session_timeout": "10000"}


class PostgresTransaction:
    """One transaction's view of everything."""

    def __init__(self, connection: AsyncConnection) -> None:
        session = PostgresSession(connection)
        self.studies = PostgresStudies(session)
        self.trials = PostgresTrials(session)
        self.bundles = PostgresBundles(session)
        self.leases = PostgresLeases(session)
        self.devices = PostgresDevices(session)
        self.surrogates = PostgresSurrogates(session)
        self.requests = PostgresRequests(session)
        self.coordinators = PostgresCoordinators(session)


class PostgresStorage:
    """Everything that the coordinator remembers, in one Postgres database."""

    def __init__(self, engine: AsyncEngine, retry_seconds: float = RETRY_SECONDS) -> None:
        self._engine = engine
        self._retry_seconds = retry_seconds

    @classmethod
    async def open(cls, url: str, retry_seconds: float = RETRY_SECONDS) -> PostgresStorage:
        """Connects and brings the schema up to date. `url` is one that libpq takes: postgresql://..."""
        storage = cls(_engine(url), retry_seconds)
        await storage._retrying(partial(_migrate, url))
        return storage

    async def run(self, work: Callable[[Transaction], Awaitable[Answer]]) -> Answer:
        """Runs `work` in one transaction and gives its result once it is stored."""

        async def once() -> Answer:
            async with self._engine.begin() as connection:
                return await work(PostgresTransaction(connection))

        return await self._retrying(once)

    async def close(self) -> None:
        """Gives every connection back."""
        await self._engine.dispose()

    async def _retrying(self, attempt: Callable[[], Awaitable[Answer]]) -> Answer:
        retrying = AsyncRetrying(
            retry=retry_if_exception(_is_passing),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            stop=stop_after_delay(self._retry_seconds),
            before_sleep=_log_retry,
            reraise=True,
        )
        try:
            return await retrying(attempt)
        except Exception as error:
            if _is_passing(error):
                raise Unavailable(f"the database does not answer: {_cause(error)}; try again") from error
            raise


async def _migrate(url: str) -> None:
    # It lasts as long as the tables are large, and waits for who migrates already.
    engine = _engine(url, command_seconds=None)
    try:
        await migrate(engine)
    finally:
        await engine.dispose()


def _engine(url: str, command_seconds: float | None = COMMAND_SECONDS) -> AsyncEngine:
    async def connect() -> Any:
        return await asyncpg.connect(url, timeout=10, command_timeout=command_seconds, server_settings=_SERVER_SETTINGS)

    # asyncpg reads the URL itself: SQLAlchemy's own parser takes no socket folder.
    return create_async_engine(
        "postgresql+asyncpg://", async_creator=connect, pool_size=8, max_overflow=8, pool_timeout=10
    )


def _is_passing(error: BaseException) -> bool:
    if isinstance(error, IntegrityError):
        return False
    if isinstance(error, PoolTimeoutError):
        return True
    if isinstance(error, DBAPIError):
        return error.connection_invalidated or (error.orig is not None and is_passing(error.orig))
    return is_passing(error)


def _cause(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return f"{type(cause).__name__}: {cause}"


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    _log.warning("database transaction is tried again", attempt=state.attempt_number, error=_cause(error or OSError()))
