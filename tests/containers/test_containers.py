"""On a real engine: the stack of deploy/compose.yaml, used from outside, and programs of a worker in containers."""

from __future__ import annotations

import os
import signal
import socket
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hydro.client import (
    Client,
    Command,
    Study,
    StudyState,
    TrialState,
    asha,
    choice,
    loguniform,
    minimize,
    no_pruning,
    prometheus,
    surrogate,
    uniform,
)
from hydro.client.suite.local import LocalSuite

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

Docker = Callable[..., str]
SERVICES = ("postgres", "coordinator", "tuner", "squeezer", "worker")
# Every character that a URL or a shell would take for its own.
PASSWORD = "p@ss/w:rd %?#'"
PROGRAMS = Path(__file__).parents[1] / "end_to_end" / "programs"
# What somebody's own image has, so that its programs report by the SDK.
DOCKERFILE = """
    FROM hydro-test-base
    WORKDIR /opt/hydro
    COPY constraints.txt ./
    COPY protos protos
    COPY kit kit
    COPY clients/python clients/python
    RUN python3 -m pip install --quiet --root-user-action=ignore -c constraints.txt ./protos ./kit ./clients/python
"""


def free_ports(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def compose(docker: Docker) -> Iterator[Docker]:
    """The compose command, of a stack that is up; afterwards it is down, and nothing of it is left."""
    coordinator, tuner = free_ports(2)
    environment = {
        "BASE": "hydro-test-base",
        "PG_IMAGE": "hydro-test-postgres",
        "HYDRO_COORDINATOR_PORT": coordinator,
        "HYDRO_TUNER_PORT": tuner,
        "HYDRO_DATABASE_PASSWORD": PASSWORD,
    }

    def compose(*arguments: str) -> str:
        return docker(
            "compose", "--project-name", "hydro-test", "--file", "deploy/compose.yaml", *arguments, **environment
        )

    try:
        compose("build")
        compose("up", "--detach", "--wait")
        yield compose
    finally:
        compose("down", "--volumes")
    project = ("--filter", "label=com.docker.compose.project=hydro-test", "--quiet")
    assert docker("ps", "--all", *project) + docker("volume", "ls", *project) + docker("network", "ls", *project) == ""


@pytest.fixture
def client(compose: Docker) -> Iterator[Client]:
    addresses = [compose("port", *service).strip() for service in (("coordinator", "7400"), ("tuner", "7401"))]
    with Client(addresses[0], tuner_address=addresses[1]) as client:
        yield client


def create_study(client: Client, study_id: str, **changes: Any) -> Study:
    settings: dict[str, Any] = {
        "task": "digits:Digits",
        "source_path": "/tasks",
        "search_space": {"lr": loguniform(1e-3, 1), "momentum": uniform(0.5, 0.99), "batch_size": choice([64, 128])},
        "objective": minimize("validation_loss"),
        "pruner": asha(min_steps=8, max_steps=32, eta=2),
        "surrogate": surrogate(width=1 / 8),
        "trials": 8,
        "parallelism": 8,
    }
    return client.create_study(study_id, **settings | changes)


def measured(study: Study) -> dict[tuple[int, int], dict[str, float]]:
    """What is acknowledged: (trial, step) to metrics."""
    return {(trial.number, each.step): dict(each.metrics) for trial in study.trials for each in trial.measurements}


def kill(docker: Docker, compose: Docker, service: str) -> None:
    """Kills the service's container as a crash would, and waits until it runs again.

    Not by `docker kill`: to the engine that is a user who wants it stopped.
    """
    container = compose("ps", "--quiet", service).strip()
    state = ("inspect", "--format", "{{.State.Pid}}", container)
    before = int(docker(*state))
    os.kill(before, signal.SIGKILL)
    for _ in range(600):
        if int(docker(*state)) not in (0, before):
            return
        time.sleep(0.1)
    raise AssertionError(f"{service} does not come back")


def test_the_digits_study_runs_on_the_stack_from_outside(client: Client) -> None:
    study = create_study(client, "digits")
    ended = study.wait(timeout_seconds=300)
    assert ended.state is StudyState.SUCCEEDED
    assert ended.warnings == ()
    assert sum(ended.statistics.trials_by_state.values()) == 8
    assert ended.statistics.max_fusion_count > 1
    assert study.best_trial.state.name == "SUCCEEDED"
    assert "as one program" in study.best_trial.log
    assert "parameters" in study.surrogate.report
    assert study.train_target().metrics["accuracy"] > 0.5


def test_killed_containers_come_back_and_nothing_is_lost(docker: Docker, compose: Docker, client: Client) -> None:
    study = create_study(client, "killed", pruner=asha(min_steps=32, max_steps=512, eta=2))
    acknowledged: dict[tuple[int, int], dict[str, float]] = {}

    def has_more() -> bool:
        return len(measured(study)) > len(acknowledged)

    for service in ("worker", "coordinator"):
        study.wait(timeout_seconds=200, until=lambda now: has_more())
        assert not study.state.has_ended, "it was over before its containers were killed"
        acknowledged |= measured(study)
        kill(docker, compose, service)
    ended = study.wait(timeout_seconds=300)
    assert ended.state is StudyState.SUCCEEDED
    states = ended.statistics.trials_by_state
    assert set(states) <= {"SUCCEEDED", "PRUNED"}
    assert sum(states.values()) == 8
    assert acknowledged.items() <= measured(study).items()
    running = compose("ps", "--services", "--filter", "status=running").split()
    assert sorted(running) == sorted(SERVICES)


@pytest.fixture(scope="module")
def local_client(engine: Mapping[str, str]) -> Iterator[Client]:
    """Of a suite on this machine, whose workers find the engine."""
    suite = LocalSuite.start({"OMP_NUM_THREADS": "1", **engine})
    with Client(suite.coordinator_address, tuner_address=suite.tuner_address) as client:
        yield client
    suite.stop()


@pytest.fixture(scope="module")
def image(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One with the SDK."""
    file = tmp_path_factory.mktemp("image") / "Dockerfile"
    file.write_text(textwrap.dedent(DOCKERFILE))
    docker("build", "--tag", "hydro-test-program", "--file", str(file), ".")
    return "hydro-test-program"


def run_program(client: Client, study_id: str, command: Command, **settings: Any) -> Study:
    study = client.create_study(
        study_id,
        command=command,
        source_path=str(PROGRAMS),
        search_space={"x": uniform(0, 1)},
        objective=minimize("loss"),
        sampler="random",
        known_points=[{"x": 0.5}],
        trials=1,
        **settings,
    )
    assert study.wait(timeout_seconds=200).state is StudyState.SUCCEEDED
    (trial,) = study.trials
    assert trial.state is TrialState.SUCCEEDED
    assert [(each.step, each.metrics["loss"]) for each in trial.measurements] == [(1, 0.5), (2, 0.25)]
    return study


def wait_until_gone(docker: Docker, study: Study) -> None:
    """Waits until no container of the study's trial is left, stopped or not."""
    label = f"label=hydro.trial={study.best_trial.name}"
    for _ in range(300):
        if not docker("ps", "--all", "--quiet", "--filter", label):
            return
        time.sleep(0.1)
    raise AssertionError(f"there is still a container with {label}")


def test_a_program_in_a_container_reports_to_the_service_of_its_trial(
    local_client: Client, docker: Docker, image: str
) -> None:
    script = "echo x is $HP_X in $(ls /.dockerenv); exec python3 ${hydro.source_path}/finishes.py"
    study = run_program(local_client, "reporting", Command(["sh", "-c", script], image=image))
    assert study.best_trial.value == 0.125
    assert "x is 0.5 in /.dockerenv\nanother token is refused\n" in study.best_trial.log
    wait_until_gone(docker, study)


def test_the_endpoint_of_a_program_in_a_container_is_read_and_its_container_is_removed(
    local_client: Client, docker: Docker
) -> None:
    command = Command(
        ["python3", "${hydro.source_path}/serves.py"],
        image="hydro-test-base",
        # A published port leads to the container's own address. It would serve for ever.
        environment={"OWN_HOST": "0.0.0.0", "OWN_LOOKS": "1000000"},
        metrics=[prometheus("/numbers", interval_seconds=0.1, step_metric="epoch")],
    )
    study = run_program(local_client, "serving", command, pruner=no_pruning(2))
    wait_until_gone(docker, study)
