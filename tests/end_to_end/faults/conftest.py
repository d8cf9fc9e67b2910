"""A suite of real processes that a test breaks in the middle of a study, and all that must hold in the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from end_to_end.history import AUDIT, ENDS, Course, check_history, courses
from end_to_end.patience import wait_until
from end_to_end.suite_database import SuiteDatabase
from hydro.client import Client, asha, choice, constant, loguniform, minimize, surrogate
from hydro.client.demo.exclusive_device import join
from hydro.client.demo.pipeline import ReplayedPipeline
from hydro.client.suite.child import log_tail
from hydro.client.suite.local import LocalSuite

from .process_tree import ProcessTree, has_ended, words_of
from .watcher import Watcher

TASKS = Path(__file__).parents[1] / "tasks"


class BrokenSuite:
    """The suite, one study in it, and what both must keep."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._environment = {
            "HYDRO_COORDINATOR_LEASE_SECONDS": "3",
            "HYDRO_COORDINATOR_CHECKPOINT_INTERVAL_SECONDS": "1",
            "HYDRO_COORDINATOR_PATIENCE_SECONDS": "0.5",
            "HYDRO_COORDINATOR_DRAIN_SECONDS": "1",
            "OMP_NUM_THREADS": "1",
            **environment,
        }
        self.suite = LocalSuite.start(self._environment)
        self.tree = ProcessTree(self.suite.process.pid)
        self.sql = SuiteDatabase(self.suite).sql
        self.client = Client(self.suite.coordinator_address, tuner_address=self.suite.tuner_address)
        self._remembered: dict[tuple[int, int], Mapping[str, float]] = {}
        self._ended: dict[int, tuple[str, float | None]] = {}
        self.sql(AUDIT)

    def start_study(self, *, trials: int = 24, batch_seconds: float = 0.1) -> Any:
        """A study of two structures, so that two bundles run; about 10 seconds of slow batches."""
        self.trials = trials
        self.study = self.client.create_study(
            "faulty",
            task="slow_perceptron:SlowPerceptron",
            source_path=str(TASKS),
            search_space={
                "lr": loguniform(1e-3, 1),
                "batch_size": choice([16, 32]),
                "batch_seconds": constant(batch_seconds),
            },
            objective=minimize("validation_loss"),
            sampler="random",
            pruner=asha(min_steps=10, max_steps=40, eta=2),
            surrogate=surrogate(width=0.5),
            trials=trials,
            parallelism=8,
            seed=1,
        )
        self.watcher = Watcher(self.study)
        return self.study

    def wait_for_middle(self, measurements: int = 6) -> None:
        """Waits until bundles train and have been measured, and remembers what was acknowledged by then."""

        def is_there() -> bool:
            (row,) = self.sql(
                "SELECT (SELECT count(*) FROM measurement) AS measurements,"
                " (SELECT count(*) FROM lease WHERE state = 'ACTIVE') AS leases"
            )
            return bool(row["measurements"] >= measurements and row["leases"])

        wait_until(is_there, "bundles are measured")
        assert self.study.state.value == "SEARCHING"
        self.remember()

    def remember(self) -> None:
        """What the database and the watching client have at this moment must be there in the end."""
        self._remembered |= self.measurements() | dict(self.watcher.measurements)
        self._ended |= {number: end for number, end in self.trial_ends().items() if end[0] in ENDS}

    def measurements(self) -> dict[tuple[int, int], Mapping[str, float]]:
        """All that is stored, by trial and step."""
        rows = self.sql("SELECT number, step, metrics FROM measurement")
        return {(row["number"], row["step"]): json.loads(row["metrics"]) for row in rows}

    def trial_ends(self) -> dict[int, tuple[str, float | None]]:
        """State and value of each trial."""
        rows = self.sql("SELECT number, state, value FROM trial")
        return {row["number"]: (row["state"], row["value"]) for row in rows}

    def leases(self, state: str = "ACTIVE") -> list[Any]:
        """Leases in a state, oldest first."""
        return self.sql("SELECT * FROM lease WHERE state = $1 ORDER BY fencing_token", state)

    def workers(self) -> list[psutil.Process]:
        """Worker processes that live."""
        return self.tree.find("hydro.worker")

    def kill(self, process: psutil.Process, how: signal.Signals = signal.SIGKILL) -> None:
        """Kills a process and waits for its end."""
        process.send_signal(how)
        wait_until(lambda: has_ended(process), f"{process} ends")

    def wait_for_restart(self, name: str, killed: psutil.Process) -> None:
        """Waits until the supervisor has started a service again."""

        def is_back() -> bool:
            return any(each != killed and name in words_of(each) for each in self._children())

        wait_until(is_back, f"{name} is started again")

    def _children(self) -> list[psutil.Process]:
        return psutil.Process(self.suite.process.pid).children()

    def start_again(self) -> None:
        """Starts the suite on the data of one that was killed, elsewhere: on other ports."""
        self.client.close()
        self.tree.close()
        data = self.suite.data_directory
        process = subprocess.Popen(
            [sys.executable, "-m", "hydro.client.suite"],
            env={**os.environ, **self._environment, "HYDRO_DATA_DIRECTORY": str(data)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        told = json.loads(process.stdout.readline())
        self.suite = replace(
            self.suite, coordinator_address=told["coordinator"], tuner_address=told["tuner"], process=process
        )
        self.tree = ProcessTree(process.pid)
        self.client = Client(told["coordinator"], tuner_address=told["tuner"])
        self.study = self.client.get_study("faulty")
        self.watcher = Watcher(self.study)

    def check_end(self) -> dict[int, Course]:
        """Waits for the study's end, and holds everything against what must be. Gives what each trial went through."""
        self.watcher.wait()
        assert self.study.state.value == "SUCCEEDED"
        self._check_trials()
        self._check_measurements()
        events = self.sql("SELECT * FROM audit ORDER BY id")
        assert check_history(events) == self.trials
        self.stop()
        assert wait_until(lambda: not self.tree.left(), f"all processes end, but {self.tree.left()}")
        return courses(events)

    def _check_trials(self) -> None:
        ends = self.trial_ends()
        assert sorted(ends) == list(range(self.trials))
        assert {state for state, _ in ends.values()} <= {"SUCCEEDED", "PRUNED"}
        assert self._ended.items() <= ends.items()
        assert self.watcher.ends == {number: {end} for number, end in ends.items()}
        statistics = self.study.statistics
        assert statistics.trials_by_state == Counter(state for state, _ in ends.values())

    def _check_measurements(self) -> None:
        stored = self.measurements()
        assert self._remembered.items() <= stored.items()
        assert self.watcher.measurements.items() <= stored.items()
        succeeded = [number for number, (state, _) in self.trial_ends().items() if state == "SUCCEEDED"]
        assert all((number, 40) in stored for number in succeeded)

    def stop(self) -> None:
        """Stops the suite. A second call does nothing."""
        for log in sorted((self.suite.data_directory / "logs").rglob("*.log")):
            # Shown when the test fails.
            print(f"--- {log.name}\n{log_tail(log, lines=30)}")
        self.client.close()
        self.suite.stop()
        self.tree.close()


@pytest.fixture
def start_suite(tmp_path: Path) -> Iterator[Callable[..., BrokenSuite]]:
    """Starts a suite with two exclusive devices, or with the settings that are given."""
    with ExitStack() as stack:

        def start(**environment: str) -> BrokenSuite:
            first, *_, last = [*sorted(os.sched_getaffinity(0))] * 2
            suite = BrokenSuite(tmp_path, {"HYDRO_COORDINATOR_DEVICES": f"cpu:{first},cpu:{last}", **environment})
            stack.callback(suite.stop)
            return suite

        yield start


@pytest.fixture
def broken_suite(start_suite: Callable[..., BrokenSuite]) -> BrokenSuite:
    return start_suite()


@pytest.fixture(scope="module")
def lasting_suite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokenSuite]:
    """A suite with one exclusive device that a module's tests share, one study after the other."""
    core = min(os.sched_getaffinity(0))
    suite = BrokenSuite(tmp_path_factory.mktemp("suite"), {"HYDRO_COORDINATOR_DEVICES": f"cpu:{core}"})
    yield suite
    suite.stop()


@pytest.fixture
def tasks() -> str:
    return str(TASKS)


@pytest.fixture
def wait() -> Callable[..., Any]:
    return wait_until


@pytest.fixture
def ended() -> Callable[[psutil.Process], bool]:
    return has_ended


@pytest.fixture
def slot_suite(start_suite: Callable[..., BrokenSuite], tmp_path: Path) -> Iterator[BrokenSuite]:
    """A suite whose only device is a slot of a replayed pipeline run: its attribute `pipeline`."""
    core = max(os.sched_getaffinity(0))
    suite = start_suite(
        HYDRO_COORDINATOR_DEVICES="", HYDRO_SQUEEZER_DEVICE=f"devices/core-{core}", HYDRO_SQUEEZER_GPU="simulated"
    )
    with ReplayedPipeline(suite.suite, core, tmp_path) as pipeline:
        suite.pipeline = pipeline
        yield suite


@pytest.fixture
def join_device(tmp_path: Path) -> Iterator[Callable[[BrokenSuite], None]]:
    """Gives a suite an exclusive device while its study goes on."""
    with ExitStack() as stack:
        core = min(os.sched_getaffinity(0))
        yield lambda suite: stack.enter_context(join(suite.client, "exclusive", core, tmp_path)) and None
