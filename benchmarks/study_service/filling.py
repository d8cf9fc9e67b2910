"""Studies that are filled already: the same trials in each system's own tables, written by SQL before it reads them."""

from __future__ import annotations

from typing import Any

import asyncpg
from optuna.distributions import distribution_to_json

from benchmarks.study_service.hydro_clients import METRIC
from benchmarks.study_service.optuna_clients import distributions
from benchmarks.study_service.workload import REPORTS, Space

_HYDRO_TRIALS = """
INSERT INTO trial (study, number, kind, state, hyperparameters, seed, value, steps, revision, end_time)
SELECT $1, number, 'SEARCH', 'SUCCEEDED', json_build_object({pairs}), number, random(), {last_step}, number + 2, now()
FROM generate_series(0, $2::int - 1) AS number
"""
_HYDRO_MEASUREMENTS = """
INSERT INTO measurement (study, number, step, metrics, value, verdict)
SELECT study, number, step, json_build_object('{metric}', one.value), one.value, 'CONTINUE'
FROM (SELECT study, number, step, random() AS value FROM trial, generate_series(0, {last_step}) AS step
      WHERE study = $1) AS one
"""
_HYDRO_STUDY = "UPDATE study SET next_trial = $2, revision = $2 + 2 WHERE name = $1"

_OPTUNA_TRIALS = """
INSERT INTO trials (number, study_id, state, datetime_start, datetime_complete)
SELECT number, $1, 'COMPLETE', now(), now() FROM generate_series(0, $2::int - 1) AS number
"""
_OPTUNA_PARAMETERS = """
INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json)
SELECT trial_id, $2, {drawn}, $3 FROM trials WHERE study_id = $1
"""
_OPTUNA_VALUES = """
INSERT INTO trial_values (trial_id, objective, value, value_type)
SELECT trial_id, 0, random(), 'FINITE' FROM trials WHERE study_id = $1
"""
_OPTUNA_REPORTS = """
INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type)
SELECT trial_id, step, random(), 'FINITE' FROM trials, generate_series(0, {last_step}) AS step WHERE study_id = $1
"""


async def fill_hydro(url: str, study: str, space: Space, trials: int) -> None:
    """Fills an empty study of ours. The coordinator must be started after it: it may know the study as empty."""
    pairs = ", ".join(f"'{name}', {_drawn(*each)}" for name, each in space.items())
    connection = await asyncpg.connect(url)
    async with connection.transaction():
        await connection.execute(_HYDRO_TRIALS.format(pairs=pairs, last_step=REPORTS - 1), study, trials)
        await connection.execute(_HYDRO_MEASUREMENTS.format(metric=METRIC, last_step=REPORTS - 1), study)
        await connection.execute(_HYDRO_STUDY, study, trials)
    await connection.execute("ANALYZE")
    await connection.close()


async def fill_optuna(url: str, study: str, space: Space, trials: int) -> None:
    """Fills an empty study of Optuna's."""
    connection = await asyncpg.connect(url)
    number = await connection.fetchval("SELECT study_id FROM studies WHERE study_name = $1", study)
    async with connection.transaction():
        await connection.execute(_OPTUNA_TRIALS, number, trials)
        for name, distribution in distributions(space).items():
            drawn = _drawn(*space[name], indexed=True)
            statement = _OPTUNA_PARAMETERS.format(drawn=drawn)
            await connection.execute(statement, number, name, distribution_to_json(distribution))
        await connection.execute(_OPTUNA_VALUES, number)
        await connection.execute(_OPTUNA_REPORTS.format(last_step=REPORTS - 1), number)
    await connection.execute("ANALYZE")
    await connection.close()


def _drawn(kind: str, content: tuple[Any, ...], *, indexed: bool = False) -> str:
    """A random value of a parameter in SQL. Optuna stores a choice as its index."""
    if kind == "log_float":
        low, high = content
        return f"({low}::float8 * power({high / low}::float8, random()))"
    if kind == "float":
        low, high = content
        return f"({low}::float8 + {high - low}::float8 * random())"
    if kind == "int":
        low, high = content
        return f"({low} + floor(random() * {high - low + 1})::int)"
    if indexed:
        return f"floor(random() * {len(content)})"
    values = ", ".join(f"'{each}'" for each in content)
    return f"(array[{values}])[1 + floor(random() * {len(content)})::int]"
