"""The suite's own Postgres: real, private, and back after a crash."""

import asyncio
import os
import shutil
import signal
import stat
import tempfile
from pathlib import Path

import asyncpg
import pytest

from hydro.client.suite.postgres import prepare_postgres
from hydro.client.suite.supervisor import Happening, Supervisor
from hydro.kit.clock import SystemClock
from hydro.kit.errors import FailedPrecondition

SYSTEM_BINARIES = next(Path("/usr/lib/postgresql").glob("*/bin"), None)


@pytest.fixture
def folder():
    """Not pytest's own, whose parents are closed to the user `nobody`."""
    made = Path(tempfile.mkdtemp(prefix="hydro-suite-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture(params=["package", "system"])
def binaries(request):
    if request.param == "package":
        return None
    if SYSTEM_BINARIES is None:
        pytest.skip("no Postgres of the system's in /usr/lib/postgresql")
    return SYSTEM_BINARIES


async def started(postgres, folder, listener=lambda report: None):
    supervisor = Supervisor([postgres.spec(folder / "postgres.log")], SystemClock(), listener)
    await supervisor.start()
    return supervisor


async def fetch(url, query):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_the_database_answers_with_its_password_alone(folder, binaries):
    postgres = prepare_postgres(folder / "postgres", binaries)
    supervisor = await started(postgres, folder)
    try:
        assert await fetch(postgres.url, "SELECT current_database()") == "hydro"
        with pytest.raises(asyncpg.InvalidPasswordError):
            await fetch(postgres.url.replace(postgres.password, "wrong"), "SELECT 1")
    finally:
        await supervisor.stop()


async def test_the_socket_and_the_password_are_closed_to_others(folder):
    postgres = prepare_postgres(folder / "postgres")
    assert stat.S_IMODE(postgres.socket_folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "postgres" / "password").stat().st_mode) == 0o600


async def test_what_was_stored_is_there_after_a_crash_and_after_a_new_start(folder):
    reports = []
    postgres = prepare_postgres(folder / "postgres")
    supervisor = await started(postgres, folder, reports.append)
    await fetch(postgres.url, "CREATE TABLE kept (value int)")
    await fetch(postgres.url, "INSERT INTO kept VALUES (7)")
    os.kill(supervisor.keepers[0].process_id, signal.SIGQUIT)
    async with asyncio.timeout(30):
        while [each.happening for each in reports].count(Happening.READY) < 2:
            await asyncio.sleep(0.02)
    assert await fetch(postgres.url, "SELECT value FROM kept") == 7
    await supervisor.stop()
    again = prepare_postgres(folder / "postgres")
    assert again == postgres
    supervisor = await started(again, folder)
    assert await fetch(again.url, "SELECT value FROM kept") == 7
    await supervisor.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="Postgres runs as another user only when the suite runs as root")
def test_a_closed_folder_is_refused_with_the_setting_to_change(folder):
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(FailedPrecondition, match="HYDRO_DATA_DIRECTORY: .*closed is closed to the user `nobody`"):
        prepare_postgres(closed / "postgres")


def test_a_long_path_gets_its_socket_elsewhere(folder):
    deep = folder / ("x" * 100)
    deep.mkdir(mode=0o711)
    postgres = prepare_postgres(deep / "postgres")
    try:
        assert len(str(postgres.socket_folder)) < 90
    finally:
        postgres.socket_folder.rmdir()
