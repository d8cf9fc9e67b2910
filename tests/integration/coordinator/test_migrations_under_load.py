"""A filled database of any released schema is migrated while its coordinators of that release go on writing."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import asyncpg
import pytest

from hydro.coordinator.names import StudyName
from hydro.coordinator.storage.passing import is_passing
from hydro.coordinator.storage.postgres_storage import PostgresStorage

pytestmark = pytest.mark.slow

DUMPS = sorted((Path(__file__).parents[2] / "golden").glob("coordinator_schema_*.sql"))
STUDY = "projects/p/studies/digits"
FILLED, STEPS, WRITERS = 2_000, 4, 4
"""Trials that are there, measurements of each, and connections that write."""

# What coordinators of every release have written, by columns that every schema has.
_TRIAL = (
    "INSERT INTO trial (study, number, kind, state, hyperparameters, seed, steps, revision)"
    " SELECT $1, number, 'SEARCH', 'SUCCEEDED', '{\"lr\": 0.5}', number, 4, 1 FROM unnest($2::int[]) AS number"
)
_MEASUREMENTS = (
    "INSERT INTO measurement (study, number, step, metrics, value, verdict)"
    " SELECT $1, number, step, '{\"loss\": 0.5}', 0.5, 'CONTINUE' FROM unnest($2::int[]) AS number,"
    " generate_series(1, $3::int) AS step"
)
_REQUEST = (
    "INSERT INTO request (method, request_id, answer)"
    " SELECT 'SuggestTrials', 'r' || number, json_build_array($1 || '/trials/' || number)"
    " FROM unnest($2::int[]) AS number"
)
_STUDY = "UPDATE study SET revision = revision + 1, next_trial = greatest(next_trial, $2::int) WHERE name = $1"


async def fill(connection, numbers):
    """Trials with their measurements, and the requests that asked for them."""
    await connection.execute(_TRIAL, STUDY, numbers)
    await connection.execute(_MEASUREMENTS, STUDY, numbers, STEPS)
    await connection.execute(_REQUEST, STUDY, numbers)


class Writer:
    """Writes trials until it is stopped, each in a transaction, and remembers those that were acknowledged."""

    def __init__(self, url, numbers, study_first):
        self.url = url
        self.numbers = numbers
        self.study_first = study_first
        self.acknowledged = []
        self.is_stopped = False

    async def write(self):
        connection = await asyncpg.connect(self.url)
        try:
            while not self.is_stopped:
                await self._attempt(connection, next(self.numbers))
        finally:
            await connection.close()

    async def _attempt(self, connection, number):
        try:
            await self._write(connection, number)
        except asyncpg.PostgresError as error:
            if not is_passing(error):
                raise
        else:
            self.acknowledged.append(number)

    async def _write(self, connection, number):
        async with connection.transaction():
            if self.study_first:
                await connection.execute(_STUDY, STUDY, number)
            await connection.execute(_TRIAL, STUDY, [number])
            await connection.execute(_MEASUREMENTS, STUDY, [number], STEPS)
            if not self.study_first:
                await connection.execute(_STUDY, STUDY, number)


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.stem)
async def test_a_filled_database_is_migrated_while_writes_go_on_and_loses_none(empty_database_url, dump):
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(dump.read_text())
    await connection.close()
    connection = await asyncpg.connect(empty_database_url)
    await fill(connection, range(100, 100 + FILLED))
    numbers = itertools.count(100 + FILLED)
    writers = [Writer(empty_database_url, numbers, each % 2 == 0) for each in range(WRITERS)]
    async with asyncio.TaskGroup() as group:
        for writer in writers:
            group.create_task(writer.write())

        async def until_each_wrote(more):
            wanted = [len(writer.acknowledged) + more for writer in writers]
            while any(len(writer.acknowledged) < each for writer, each in zip(writers, wanted, strict=True)):
                await asyncio.sleep(0.01)

        await until_each_wrote(5)
        storage = await PostgresStorage.open(empty_database_url)
        # The statements of the release before still do what they did.
        await until_each_wrote(5)
        for writer in writers:
            writer.is_stopped = True
    trials = await storage.run(lambda tx: tx.trials.all(StudyName("p", "digits")))
    await storage.close()
    await connection.close()
    stored = {trial.name.number: trial for trial in trials}
    acknowledged = [number for writer in writers for number in writer.acknowledged]
    assert {*range(100, 100 + FILLED), *acknowledged} <= set(stored)
    for number in acknowledged:
        assert [(each.step, each.metrics) for each in stored[number].measurements] == [
            (step, {"loss": 0.5}) for step in range(1, STEPS + 1)
        ]
