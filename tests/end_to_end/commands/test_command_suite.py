"""Command trials through the real suite: the example, one trial again, and a worker that is killed in the middle."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from hydro.client import Client, Command, StudyState, TrialState, log_pattern, minimize, uniform
from hydro.client.study_file import read_study
from hydro.client.suite.local import LocalSuite

EXAMPLE = Path(__file__).parents[3] / "examples" / "command_trial" / "study.yaml"
PATIENCE_SECONDS = 120

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def suite():
    suite = LocalSuite.start({"OMP_NUM_THREADS": "1", "HYDRO_COORDINATOR_LEASE_SECONDS": "3"})
    yield suite
    suite.stop()


@pytest.fixture
def client(suite):
    with Client(suite.coordinator_address, tuner_address=suite.tuner_address) as client:
        yield client


def until(holds):
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := holds()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)
    return found


def below(suite, word):
    """Processes of the suite with the word in their command line."""
    found = []
    for process in psutil.Process(suite.process.pid).children(recursive=True):
        try:
            if any(word in each for each in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def test_the_example_is_searched_paused_resumed_and_reproduced(client, suite):
    study = client.create_study(**{**read_study(EXAMPLE), "trials": 4})
    ended = study.wait()
    assert ended.state is StudyState.SUCCEEDED
    states = {trial.state for trial in study.trials}
    assert states <= {TrialState.SUCCEEDED, TrialState.PRUNED}
    best = study.best_trial
    # Paused at its rungs and started again, it has measured each epoch once, and trained none of them twice.
    assert [each.step for each in best.snapshot.measurements] == list(range(1, 21))
    assert best.log.count("epoch 5:") == 1
    hydro = [sys.executable, "-c", "from hydro.client.command import main; main()"]
    done = subprocess.run(
        [*hydro, "trial", "reproduce", f"command-trial/{best.number}", "--address", suite.coordinator_address],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "largest difference: 0 (validation_loss at step" in done.stdout
    assert "over 20 values" in done.stdout


def test_a_worker_killed_in_mid_trial_leaves_no_process_and_its_trial_is_run_again(client, suite):
    marker = f"marker-{time.monotonic_ns()}"
    text = (
        "import subprocess, sys, time\n"
        "words = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        f"subprocess.Popen([*words, '{marker}'], start_new_session=True)\n"
        "for step in range(1, 9):\n"
        "    print(f'step {step} loss {time.time()}', flush=True)\n"
        "    time.sleep(0.3)\n"
    )
    study = client.create_study(
        "killed",
        command=Command([sys.executable, "-c", text], metrics=[log_pattern(r"step (?P<step>\d+) loss (?P<loss>\S+)")]),
        search_space={"x": uniform(0, 1)},
        objective=minimize("loss"),
        sampler="random",
        trials=1,
        parallelism=1,
    )
    until(lambda: study.trials and len(study.trials[0].snapshot.measurements) >= 2)
    (program,) = [each for each in below(suite, marker) if "subprocess.Popen" in " ".join(each.cmdline())][-1:]
    before = {each.step: each.metrics["loss"] for each in study.trials[0].snapshot.measurements}
    worker = next(each for each in program.parents() if "hydro.worker" in each.cmdline())
    first_run = [each for each in psutil.process_iter() if _has(each, marker)]
    assert len(first_run) >= 2
    worker.kill()
    until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in first_run))
    assert study.wait().state is StudyState.SUCCEEDED
    (trial,) = study.trials
    measured = {each.step: each.metrics["loss"] for each in trial.snapshot.measurements}
    assert before.items() <= measured.items()
    assert [each.step for each in trial.snapshot.measurements] == list(range(1, 9))
    until(lambda: not below(suite, marker))


def _has(process, marker):
    try:
        return any(marker in each for each in process.cmdline())
    except psutil.Error:
        return False
