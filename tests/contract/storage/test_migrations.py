"""Any database becomes one of the current schema, and keeps its rows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from hydro.coordinator.bundle import MemoryMiss
from hydro.coordinator.names import DeviceName, StudyName
from hydro.coordinator.storage.postgres_storage import PostgresStorage
from hydro.coordinator.storage.schema import metadata
from hydro.coordinator.study import StudyState
from hydro.coordinator.trial import TrialState

GOLDEN = Path(__file__).parents[2] / "golden"
DUMPS = sorted(GOLDEN.glob("coordinator_schema_*.sql"))
STUDY = StudyName("p", "digits")


async def differences(url):
    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(url))
    async with engine.connect() as connection:
        found = await connection.run_sync(lambda sync: compare_metadata(MigrationContext.configure(sync), metadata))
    await engine.dispose()
    return [each for each in found if "alembic_version" not in str(each)]


async def test_migrations_make_what_the_schema_declares(database_url):
    assert await differences(database_url) == []


async def test_coordinators_that_start_together_migrate_once(empty_database_url):
    storages = await asyncio.gather(*(PostgresStorage.open(empty_database_url) for _ in range(4)))
    for storage in storages:
        await storage.close()
    assert await differences(empty_database_url) == []


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.stem)
async def test_a_database_of_a_released_schema_is_brought_up_to_date_with_its_rows(empty_database_url, dump):
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(dump.read_text())
    await connection.close()
    storage = await PostgresStorage.open(empty_database_url)
    study = await storage.run(lambda tx: tx.studies.get(STUDY))
    trials = await storage.run(lambda tx: tx.trials.all(STUDY))
    surrogate = await storage.run(lambda tx: tx.surrogates.of_study(STUDY))
    leases = await storage.run(lambda tx: tx.leases.active())
    misses = await storage.run(lambda tx: tx.surrogates.misses(STUDY))
    await storage.close()
    assert await differences(empty_database_url) == []
    assert study.state is StudyState.SEARCHING and study.spec.search_space.parameters[0].domain.max == 1e22
    assert [trial.state for trial in trials] == [TrialState.PAUSED, TrialState.RUNNING, TrialState.RUNNING]
    assert trials[0].measurements[0].metrics == {"loss": 0.5} and trials[0].checkpoint is not None
    assert surrogate is not None and surrogate.record == b"\x00\x01" and len(leases) == 1
    known = [MemoryMiss(8, 2**32, refused=True)] if "memory_miss" in dump.read_text() else []
    assert misses.get(DeviceName("devices/cpu-0"), []) == known


def test_every_migration_has_a_database_of_its_schema():
    from hydro.coordinator.storage import migration

    versions = sorted((Path(migration.__file__).parent / "migrations" / "versions").glob("[0-9]*.py"))
    assert [path.name[:4] for path in versions] == [path.stem[-4:] for path in DUMPS]
