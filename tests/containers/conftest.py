"""A real Docker engine of the tests' own, with images built from Debian's packages: nothing is pulled from a registry.

The engine's data, socket and plugins live in a temporary folder and go with it; its network is of its own too, so that
it disturbs no other engine of the machine. HYDRO_TEST_DOCKER_HOST names one that runs already instead, which has the
images.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PROGRAMS = ("dockerd", "docker", "containerd", "mmdebstrap", "dpkg-deb", "apt-get", "ip", "iptables")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
DEBIAN_PACKAGES = "python3,python3-pip,ca-certificates,postgresql-15"

BASE_DOCKERFILE = """
    FROM hydro-test-debian
    COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
    COPY *.whl /wheels/
    RUN rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
    ENV PIP_FIND_LINKS=/wheels PIP_CERT=/etc/ssl/certs/ca-certificates.crt
"""
# What the official image does with the same variables, as far as the stack needs it.
POSTGRES_DOCKERFILE = """
    FROM hydro-test-debian
    COPY postgres-entrypoint.sh /
    ENTRYPOINT ["sh", "/postgres-entrypoint.sh"]
    STOPSIGNAL SIGINT
"""
POSTGRES_ENTRYPOINT = """
    set -eu
    programs=/usr/lib/postgresql/15/bin data=/var/lib/postgresql/data
    install --directory --owner=postgres $data /var/run/postgresql
    if [ ! -s $data/PG_VERSION ]; then
        password=$(mktemp) && echo "$POSTGRES_PASSWORD" > $password && chown postgres $password
        su postgres -c "$programs/initdb -D $data -U $POSTGRES_USER -A scram-sha-256 --pwfile $password -E UTF8 --locale=C.UTF-8"
        echo "host all all all scram-sha-256" >> $data/pg_hba.conf
        echo "CREATE DATABASE $POSTGRES_DB" | su postgres -c "$programs/postgres --single -D $data postgres"
    fi
    exec setpriv --reuid=postgres --regid=postgres --init-groups $programs/postgres -D $data -c listen_addresses='*'
"""  # noqa: E501

Docker = Callable[..., str]
Engine = Mapping[str, str]
"""Variables by which the docker program finds it."""


@pytest.fixture(scope="session")
def docker(engine: Engine) -> Docker:
    """The docker command, on an engine that has the images that deploy/ builds on."""
    return docker_on(engine)


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """An engine that has the images that deploy/ builds on."""
    if host := os.environ.get("HYDRO_TEST_DOCKER_HOST"):
        yield {"DOCKER_HOST": host, "DOCKER_CONFIG": os.environ["DOCKER_CONFIG"]}
        return
    if reason := why_not():
        pytest.skip(reason)
    # Not pytest's folder: its path is longer than a socket's may be.
    folder = Path(tempfile.mkdtemp(prefix="hydro-docker-"))
    with ExitStack() as cleanup:
        cleanup.callback(run, ["rm", "--recursive", "--force", str(folder)], folder.parent)
        cleanup.callback(unmount_below, folder)
        process = start_engine(folder, cleanup.enter_context(own_network()))
        cleanup.callback(process.wait, 120)
        cleanup.callback(process.terminate)
        found = {"DOCKER_HOST": f"unix://{folder}/docker.sock", "DOCKER_CONFIG": str(folder / "config")}
        command = docker_on(found)
        wait_until_ready(command, process, folder / "engine.log")
        with ThreadPoolExecutor() as pool:
            fetched = [pool.submit(fetch, folder) for fetch in (fetch_debian, fetch_torch, install_plugins)]
        for each in fetched:
            each.result()
        build_images(command, folder)
        yield found


def docker_on(engine: Engine) -> Docker:
    environment = {**os.environ, **engine}

    def docker(*arguments: str, timeout_seconds: float = 600, **more: str) -> str:
        """Runs the command in the repository's folder; fails with everything that it printed."""
        done = subprocess.run(
            ["docker", *arguments], cwd=REPOSITORY, env=environment | more, timeout=timeout_seconds,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout[-6000:]}"
        return done.stdout

    return docker


def why_not() -> str | None:
    """Why no engine can run here, or None."""
    if os.geteuid() != 0:
        return "a Docker engine of the test's own needs root"
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian's docker.io and mmdebstrap)"
    absent = [str(path) for path in (KEYRING, CERTIFICATES) if not path.exists()]
    return f"not here: {', '.join(absent)} (Debian's debian-archive-keyring and ca-certificates)" if absent else None


@contextmanager
def own_network() -> Iterator[int]:
    """A bridge, and the way from 10.N.0.0/16 to the outside; gives N.

    The engine's own rules would do, but it begins with removing those of any other engine.
    """
    octet = random.SystemRandom().randrange(128, 250)
    bridge, network = f"hydro-test{octet}", f"10.{octet}.0.0/16"
    rules = [
        ["POSTROUTING", "--table", "nat", "--source", network, "!", "--destination", network, "--jump", "MASQUERADE"],
        ["FORWARD", "--source", network, "--jump", "ACCEPT"],
        ["FORWARD", "--destination", network, "--jump", "ACCEPT"],
    ]
    with ExitStack() as cleanup:
        try:
            run(["ip", "link", "add", bridge, "type", "bridge"])
        except AssertionError as error:
            pytest.skip(f"no network can be made on this machine: {error}")
        cleanup.callback(run, ["ip", "link", "delete", bridge])
        run(["ip", "address", "add", f"10.{octet}.255.1/24", "dev", bridge])
        run(["ip", "link", "set", bridge, "up"])
        for rule in rules:
            run(["iptables", "--wait", "--insert", *rule])
            cleanup.callback(run, ["iptables", "--wait", "--delete", *rule])
        yield octet


def start_engine(folder: Path, octet: int) -> subprocess.Popen[bytes]:
    command = ["dockerd", f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid",
               f"--host=unix://{folder}/docker.sock", "--iptables=false", "--ip6tables=false",
               f"--bridge=hydro-test{octet}", f"--default-address-pool=base=10.{octet}.0.0/17,size=24"]  # fmt: skip
    with (folder / "engine.log").open("w") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def wait_until_ready(docker: Docker, engine: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        if engine.poll() is not None:
            pytest.skip(f"dockerd does not start on this machine: {log.read_text()[-1500:]}")
        try:
            docker("info")
        except AssertionError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"dockerd does not answer:\n{log.read_text()[-3000:]}")


def install_plugins(folder: Path) -> None:
    """Compose and buildx: Debian 13's packages, taken apart, for Debian 12 has none."""
    apt, plugins = folder / "apt", folder / "config" / "cli-plugins"
    for part in (apt / "lists/partial", apt / "cache/archives/partial", plugins):
        part.mkdir(parents=True)
    (apt / "sources.list").write_text(f"deb [signed-by={KEYRING}] http://deb.debian.org/debian trixie main\n")
    options = [f"Dir::Etc::sourcelist={apt}/sources.list", "Dir::Etc::sourceparts=-", f"Dir::State::lists={apt}/lists",
               f"Dir::Cache={apt}/cache", "APT::Sandbox::User=root", "Acquire::Languages=none"]  # fmt: skip
    apt_get = ["apt-get", "-qq", *(word for option in options for word in ("-o", option))]
    run([*apt_get, "update"], apt)
    run([*apt_get, "download", "docker-compose", "docker-buildx"], apt)
    for package in apt.glob("*.deb"):
        run(["dpkg-deb", "-x", str(package), str(apt / "root")], apt)
    for plugin in (apt / "root/usr/libexec/docker/cli-plugins").iterdir():
        shutil.copy(plugin, plugins)


def fetch_debian(folder: Path) -> None:
    options = ["--variant=apt", "--dpkgopt=force-unsafe-io", f"--include={DEBIAN_PACKAGES}"]
    run(["mmdebstrap", *options, "bookworm", str(folder / "debian.tar")], folder)


def fetch_torch(folder: Path) -> None:
    """Outside, pip finds the right build of torch; inside, it would take one several times as large."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    run([*pip, "--dest", str(folder / "context"), "torch==2.13.0"], folder)


def build_images(docker: Docker, folder: Path) -> None:
    """The bases of the stack's images: Python with pip and torch's wheel at hand, and Postgres."""
    context = folder / "context"
    docker("import", str(folder / "debian.tar"), "hydro-test-debian")
    shutil.copy(CERTIFICATES, context)
    (context / "postgres-entrypoint.sh").write_text(textwrap.dedent(POSTGRES_ENTRYPOINT))
    for image, dockerfile in (("hydro-test-base", BASE_DOCKERFILE), ("hydro-test-postgres", POSTGRES_DOCKERFILE)):
        (context / image).write_text(textwrap.dedent(dockerfile))
        docker("build", "--tag", image, "--file", str(context / image), str(context))


def unmount_below(folder: Path) -> None:
    """The engine leaves its network namespaces mounted."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for path in reversed([path for path in mounted if path.startswith(f"{folder}/")]):
        run(["umount", "--lazy", path], folder)


def run(command: list[str], folder: Path | None = None) -> None:
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}"
