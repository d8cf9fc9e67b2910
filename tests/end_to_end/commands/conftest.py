"""A suite for all tests of programs, and what its database stored in the course of each of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from end_to_end.history import AUDIT
from end_to_end.suite_database import SuiteDatabase
from hydro.client import Client
from hydro.client.suite.local import LocalSuite


@pytest.fixture(scope="package")
def suite() -> Iterator[LocalSuite]:
    suite = LocalSuite.start({"OMP_NUM_THREADS": "1", "HYDRO_COORDINATOR_LEASE_SECONDS": "10"})
    yield suite
    suite.stop()


@pytest.fixture
def client(suite: LocalSuite) -> Iterator[Client]:
    with Client(suite.coordinator_address, tuner_address=suite.tuner_address) as client:
        yield client


@pytest.fixture(scope="package")
def database(suite: LocalSuite) -> SuiteDatabase:
    database = SuiteDatabase(suite)
    database.sql(AUDIT)
    return database


@pytest.fixture
def events(database: SuiteDatabase) -> Callable[[], list[Any]]:
    """Gives what was stored since the test began."""
    database.sql("TRUNCATE audit")
    return lambda: database.sql("SELECT * FROM audit ORDER BY id")
