"""Driven trials in Postgres: one statement for a whole commit, straight on asyncpg."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import asyncpg
import structlog
from sqlalchemy import JSON

from hydro.coordinator.names import StudyName
from hydro.coordinator.storage import schema
from hydro.coordinator.storage.documents import (
    clean,
    metrics_document,
    metrics_of,
    result_document,
    result_of,
    retries_of,
    searched_document,
    searched_of,
)
from hydro.coordinator.storage.driven_storage import (
    ClaimedStudy,
    Committed,
    DrivenTrial,
    StoredTrial,
    StudyChanges,
)
from hydro.coordinator.storage.passing import is_passing
from hydro.coordinator.storage.postgres_study_rows import prior_trial_of, study_of
from hydro.coordinator.storage.trial_values import Measured
from hydro.coordinator.trial import Measurement, TrialState, Verdict
from hydro.kit.errors import FailedPrecondition, NotFound, Unavailable

Answer = TypeVar("Answer")
_Record = Mapping[str, Any]
_log = structlog.get_logger()
_CONNECT_SECONDS = 10.0
_COMMAND_SECONDS = 30.0

# The statement is planned while its tables are all but empty, when any way to find a trial looks as cheap as any other,
# and the plan is kept: Postgres looks at them a minute later, and by then each commit reads thousands of rows.
_BY_INDEX = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off"}
_ANALYZED_AT = (50, 500, 5000)
"""Trials of this process after which the statement is planned anew."""

# A trial is found by its number: the index of open trials is full of what their earlier versions left there.
# The update of the study's row compares the epoch and locks the row: whoever takes the study over waits for this
# commit, or comes before it, and then nothing of the study is written.
_WRITE = """
WITH owned AS (
    UPDATE study SET revision = study.revision + 1, next_trial = new.next_trial, best_trial = new.best_trial,
        version = study.version + (study.best_trial IS DISTINCT FROM new.best_trial)::int
    FROM unnest($1::text[], $2::bigint[], $3::int[], $4::int[]) AS new (name, epoch, next_trial, best_trial)
    WHERE study.name = new.name AND study.epoch = new.epoch
    RETURNING study.name, study.revision
), started AS (
    INSERT INTO trial (
        study, number, kind, state, hyperparameters, seed, request_id, known_point, searched, revision)
    SELECT owned.name, new.number, 'SEARCH', 'RUNNING', new.hyperparameters::json, new.seed, new.request_id,
        new.known_point, new.searched::json, owned.revision
    FROM unnest($5::text[], $6::int[], $7::text[], $8::bigint[], $9::text[], $10::int[], $11::text[])
        AS new (study, number, hyperparameters, seed, request_id, known_point, searched)
    JOIN owned ON owned.name = new.study
), measured AS (
    INSERT INTO measurement (study, number, step, metrics, value, verdict, elapsed_seconds)
    SELECT owned.name, new.number, new.step, new.metrics::json, new.value, new.verdict, new.elapsed_seconds
    FROM unnest($12::text[], $13::int[], $14::bigint[], $15::text[], $16::float8[], $17::text[], $18::float8[])
        AS new (study, number, step, metrics, value, verdict, elapsed_seconds) JOIN owned ON owned.name = new.study
), changed AS (
    UPDATE trial SET state = new.state, state_reason = new.state_reason, value = new.value, steps = new.steps,
        result = new.result::json, request_id = coalesce(new.request_id, trial.request_id), revision = owned.revision,
        end_time = CASE WHEN new.state <> 'RUNNING' THEN now() END
    FROM unnest(
        $19::text[], $20::int[], $21::text[], $22::text[], $23::float8[], $24::bigint[], $25::text[], $26::text[])
        AS new (study, number, state, state_reason, value, steps, result, request_id)
    JOIN owned ON owned.name = new.study
    WHERE trial.study = new.study AND trial.number = new.number AND trial.end_time IS NULL
    RETURNING trial.study
)
SELECT name, revision, now() AS time,
    (SELECT count(*) FROM changed WHERE changed.study = owned.name) AS changed
FROM owned
"""

_CLAIM = """
UPDATE study SET owner = $2, epoch = epoch + 1
WHERE name = $1 AND task IS NULL AND (owner IN ('', $2) OR NOT EXISTS (
    SELECT FROM coordinator WHERE coordinator.id = study.owner AND coordinator.expire_time > clock_timestamp()))
RETURNING *
"""

_TRIALS = """
SELECT trial.number, state, hyperparameters, seed, request_id, known_point, searched, trial.value, result, steps,
    failures, retries, create_time, revision, measured.steps_measured, measured.objectives, measured.seconds
FROM trial LEFT JOIN (
    SELECT number, array_agg(step ORDER BY step) AS steps_measured, array_agg(value ORDER BY step) AS objectives,
        array_agg(coalesce(elapsed_seconds, 0) ORDER BY step) AS seconds
    FROM measurement WHERE study = $1 AND value IS NOT NULL GROUP BY number
) AS measured USING (number)
WHERE study = $1 AND kind = 'SEARCH' ORDER BY number
"""

_STANDING = """
SELECT measurement.* FROM measurement JOIN trial USING (study, number)
WHERE study = $1 AND trial.state IN ('PENDING', 'RUNNING')
"""

_PRIOR = "SELECT * FROM prior_trial WHERE study = $1 ORDER BY number"


class PostgresDriven:
    """The studies without a task, on two connections of its own: one writes, one reads what is claimed."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._writer = _Connection(url, _BY_INDEX)
        self._reader = _Connection(url)
        self._started = 0

    async def claim(self, study: StudyName, owner: str) -> ClaimedStudy | None:
        """Takes the study over and reads it. None: another coordinator owns it, and lives."""
        return await self._reader.use(lambda connection: _claim(connection, study, owner))

    async def holds(self, study: StudyName, epoch: int) -> bool:
        """Whether the epoch is still the study's: nobody has taken it over."""
        query = "SELECT epoch = $2 FROM study WHERE name = $1"
        return bool(await self._reader.use(lambda connection: connection.fetchval(query, str(study), epoch)))

    async def write(self, changes: Sequence[StudyChanges]) -> Mapping[StudyName, Committed]:
        """Stores the changes in one commit; gives the studies whose epoch was right."""
        rows = await self._writer.use(lambda connection: connection.fetch(_WRITE, *_arguments(changes)))
        await self._analyze(sum(len(each.started) for each in changes))
        committed = {row["name"]: row for row in rows}
        return {
            each.study: Committed(row["revision"], row["time"])
            for each in changes
            if (row := committed.get(str(each.study))) is not None and _is_whole(each, row)
        }

    async def _analyze(self, started: int) -> None:
        before, self._started = self._started, self._started + started
        if any(before < each <= self._started for each in _ANALYZED_AT):
            with contextlib.suppress(Unavailable):
                await self._writer.use(lambda connection: connection.execute("ANALYZE trial"))

    async def close(self) -> None:
        """Gives every connection back."""
        await self._writer.close()
        await self._reader.close()


class _Connection:
    """One connection, made when it is needed, and again when it is broken. Uses take turns."""

    def __init__(self, url: str, settings: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._settings = dict(settings or {})
        self._turn = asyncio.Lock()
        self._connection: asyncpg.Connection[Any] | None = None

    async def use(self, work: Callable[[asyncpg.Connection[Any]], Awaitable[Answer]]) -> Answer:
        async with self._turn:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(
                        self._url,
                        timeout=_CONNECT_SECONDS,
                        command_timeout=_COMMAND_SECONDS,
                        server_settings=self._settings,
                    )
                return await work(self._connection)
            except BaseException as error:
                if is_passing(error):
                    self._drop()
                    raise Unavailable(f"the database does not answer: {error!r}; try again") from error
                if isinstance(error, asyncio.CancelledError):
                    self._drop()
                raise

    async def close(self) -> None:
        async with self._turn:
            try:
                if self._connection is not None and not self._connection.is_closed():
                    await self._connection.close(timeout=_CONNECT_SECONDS)
            except Exception as error:
                if not is_passing(error):
                    raise
                self._drop()

    def _drop(self) -> None:
        # What it was doing is not known: no later statement may follow on it.
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


async def _claim(connection: asyncpg.Connection[Any], name: StudyName, owner: str) -> ClaimedStudy | None:
    row = await connection.fetchrow(_CLAIM, str(name), owner)
    if row is None:
        has_task = await connection.fetchval("SELECT task IS NOT NULL FROM study WHERE name = $1", str(name))
        if has_task is None:
            raise NotFound(f"{name} does not exist")
        if has_task:
            raise FailedPrecondition(f"{name} has a task: its trials are trained by workers, not by a caller")
        return None
    # From here on nobody else writes.
    trials = await connection.fetch(_TRIALS, str(name))
    standing = await connection.fetch(_STANDING, str(name))
    prior = await connection.fetch(_PRIOR, str(name))
    # Thousands of trials are read beside the loop, which has other calls to answer.
    return await asyncio.to_thread(_claimed, row, trials, standing, prior)


def _claimed(
    row: _Record, trials: Sequence[_Record], standing: Sequence[_Record], prior: Sequence[_Record]
) -> ClaimedStudy:
    return ClaimedStudy(
        study_of(_Fields(row)),
        row["epoch"],
        [_stored(each) for each in trials],
        [_measured(each) for each in standing],
        [prior_trial_of(_Fields(each)) for each in prior],
    )


class _Fields:
    """A record's columns as attributes, documents opened, as SQLAlchemy gives them."""

    _DOCUMENTS = frozenset(
        column.name
        for table in (schema.study, schema.prior_trial)
        for column in table.c
        if isinstance(column.type, JSON)
    )

    def __init__(self, record: _Record) -> None:
        for name, value in record.items():
            setattr(self, name, json.loads(value) if name in self._DOCUMENTS and value is not None else value)


def _stored(row: _Record) -> StoredTrial:
    started = DrivenTrial(
        row["number"],
        json.loads(row["hyperparameters"]),
        row["seed"],
        row["request_id"],
        row["known_point"],
        searched_of(_opened(row["searched"])),
    )
    return StoredTrial(
        started,
        TrialState(row["state"]),
        row["value"],
        row["steps"],
        row["create_time"],
        row["revision"],
        tuple(zip(row["steps_measured"] or (), row["objectives"] or (), strict=True)),
        result_of(_opened(row["result"])),
        tuple(row["seconds"] or ()),
        row["failures"],
        retries_of(json.loads(row["retries"])),
    )


def _opened(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _text(document: Any) -> str | None:
    return None if document is None else json.dumps(document)


def _measured(row: _Record) -> Measured:
    measurement = Measurement(row["step"], metrics_of(json.loads(row["metrics"])), row["elapsed_seconds"])
    return Measured(row["number"], measurement, row["value"], Verdict(row["verdict"]))


def _arguments(changes: Sequence[StudyChanges]) -> list[list[Any]]:
    studies = [(str(each.study), each.epoch, each.next_trial, each.best_trial) for each in changes]
    started = [
        (
            str(each.study),
            new.number,
            json.dumps(new.hyperparameters),
            new.seed,
            clean(new.request_id),
            new.known_point,
            _text(searched_document(new.searched)),
        )
        for each in changes
        for new in each.started
    ]
    measured = [
        (
            str(each.study),
            new.number,
            new.measurement.step,
            json.dumps(metrics_document(new.measurement.metrics)),
            new.value,
            new.verdict.value,
            new.measurement.elapsed_seconds,
        )
        for each in changes
        for new in each.measured
    ]
    changed = [
        (
            str(each.study),
            new.number,
            new.state.value,
            clean(new.state_reason),
            new.value,
            new.steps,
            _text(result_document(new.result)),
            None if new.request_id is None else clean(new.request_id),
        )
        for each in changes
        for new in each.changed.values()
    ]
    return [*_columns(studies, 4), *_columns(started, 7), *_columns(measured, 7), *_columns(changed, 8)]


def _columns(rows: Iterable[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


def _is_whole(changes: StudyChanges, row: _Record) -> bool:
    if row["changed"] == len(changes.changed):
        return True
    # Nobody but the owner moves these trials: what it knows is wrong, and it has to read the study again.
    _log.error("trials were not as their owner knew them", study=str(changes.study), trials=sorted(changes.changed))
    return False
