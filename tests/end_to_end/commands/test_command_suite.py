"""Command trials through the real suite: each way to measure, pruned, paused, promoted, run again, killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil
import pytest

from end_to_end.commands.command_runs import LOSSES, below, create
from end_to_end.history import check_history, courses
from end_to_end.patience import wait_until
from end_to_end.shell import hydro
from hydro.client import (
    Command,
    StudyState,
    TrialState,
    asha,
    at_most,
    choice,
    hyperband,
    integer,
    json_lines,
    log_pattern,
    maximize,
    minimize,
    no_pruning,
    prior,
    prometheus,
    uniform,
)
from hydro.client.study_file import read_study

EXAMPLE = Path(__file__).parents[3] / "examples" / "command_trial" / "study.yaml"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def metric_of(trial, name):
    return [(each.step, each.metrics[name]) for each in trial.measurements]


WAYS = {
    "log-pattern": ("prints.py", [LOSSES], 0.25, "step 2 accuracy 0.5 loss 0.25\n"),
    "json-lines": ("appends.py", [json_lines("metrics.jsonl")], 0.25, "appended 2 lines\n"),
    "prometheus": (
        "serves.py", [prometheus("/numbers", interval_seconds=0.1, step_metric="epoch")], 0.25, "GET /numbers HTTP",
    ),
    "sdk": ("finishes.py", [], 0.125, "another token is refused\n"),
}  # fmt: skip
"""The program, its metrics sources, what its trial comes to, and what is in its log."""


@pytest.mark.parametrize("way", WAYS)
def test_a_program_is_measured(client, way):
    program, sources, value, said = WAYS[way]
    study = create(client, way, program, command={"metrics": sources}, known_points=[{"x": 0.5}], trials=1)
    assert study.wait().state is StudyState.SUCCEEDED
    trial = study.best_trial
    assert [(each.step, dict(each.metrics)) for each in trial.measurements] == [
        (1, {"accuracy": 0.5, "loss": 0.5}),
        (2, {"accuracy": 0.5, "loss": 0.25}),
    ]
    assert trial.value == value
    assert said in trial.log


def test_a_program_is_given_its_trial_in_arguments_and_environment_and_ends_at_its_last_step(client, suite):
    study = create(
        client,
        "given",
        "prints.py",
        *("--x=${x}", "--depth=${depth}", "$${x}", "${hydro.trial}", "${hydro.seed}"),
        command={
            "metrics": [LOSSES],
            "environment": {"OWN_KIND": "${kind}", "OWN_STEPS": "10", "OWN_STAY_SECONDS": "600"},
        },
        search_space={
            "x": uniform(0, 1),
            "kind": choice(["plain", "deep"]),
            "depth": integer(1, 3).when(kind=["deep"]),
        },
        known_points=[{"x": 0.5, "kind": "plain"}],
        pruner=no_pruning(3),
        trials=1,
    )
    assert study.wait().state is StudyState.SUCCEEDED
    (trial,) = study.trials
    assert trial.state is TrialState.SUCCEEDED
    assert metric_of(trial, "loss") == [(1, 0.5), (2, 0.25), (3, 0.5 / 3)]
    assert trial.value == 0.5 / 3
    wait_until(lambda: not below(suite, "prints.py"), "its program ends")
    log = trial.log.splitlines()
    # No argument and no variable of what is not active in the trial.
    assert f"arguments --x=0.5 ${{x}} {trial.name} {trial.seed}" in log
    assert [line for line in log if line.startswith(("HP_", "OWN_KIND"))] == [
        "HP_KIND=plain",
        "HP_X=0.5",
        "OWN_KIND=plain",
    ]
    assert {f"HYDRO_TRIAL_NAME={trial.name}", f"HYDRO_SEED={trial.seed}", "HYDRO_MAX_STEPS=3"} <= set(log)
    assert any(line.startswith("HYDRO_TRIAL_ADDRESS=unix:/") for line in log)
    assert "a token of 43 characters" in log
    assert "HYDRO_DATABASE_URL" not in trial.log


START = [("PENDING", 0), ("RUNNING", 0), ("PAUSED", 1)]
PROMOTED = [*START, ("PENDING", 1), ("RUNNING", 1)]


def test_asha_pauses_trials_at_each_rung_and_the_best_of_it_are_started_again(client, events):
    study = create(
        client,
        "asha",
        "steps.py",
        command={"environment": {"STEPS": "10"}},
        known_points=[{"x": x} for x in (0.1, 0.2, 0.3, 0.4)],
        pruner=asha(min_steps=1, max_steps=4, eta=2),
        trials=4,
    )
    assert study.wait().state is StudyState.SUCCEEDED
    assert check_history(events()) == 4
    # The first one is the best of all, but waits until a rung has two. Of four at step 1 two go on, of those one.
    assert courses(events()) == {
        0: [*PROMOTED, ("PAUSED", 2), ("PENDING", 2), ("RUNNING", 2), ("SUCCEEDED", 4)],
        1: [*PROMOTED, ("PAUSED", 2), ("PRUNED", 2)],
        2: [*START, ("PRUNED", 1)],
        3: [*START, ("PRUNED", 1)],
    }
    # Each start goes on where the one before was stopped.
    assert metric_of(study.best_trial, "start") == [(1, 1), (2, 2), (3, 3), (4, 3)]
    assert metric_of(study.trials[1], "start") == [(1, 1), (2, 2)]


def test_hyperband_pauses_the_trials_of_each_bracket_at_its_own_rungs_and_bohb_suggests_them(client, events):
    study = create(
        client,
        "hyperband",
        "steps.py",
        command={"environment": {"STEPS": "10"}},
        # None can be better.
        known_points=[{"x": 0.0}],
        sampler="bohb",
        pruner=hyperband(1, 9),
        trials=5,
    )
    assert study.wait().state is StudyState.SUCCEEDED
    # Trials 0, 2 and 4 have rungs at 1, 3 and 9, trial 1 at 3 and 9, and trial 3 at 9 alone.
    assert courses(events()) == {
        0: [*PROMOTED, ("PAUSED", 3), ("PRUNED", 3)],
        1: [*START[:2], ("PAUSED", 3), ("PRUNED", 3)],
        2: [*START, ("PRUNED", 1)],
        3: [*START[:2], ("SUCCEEDED", 9)],
        4: [*START, ("PRUNED", 1)],
    }
    assert metric_of(study.trials[0], "start") == [(1, 1), (2, 2), (3, 2)]
    last = study.trials[4]
    assert last.replay() == dict(last.hyperparameters)
    # Its model has those that wait, too.
    assert any(each.snapshot.searched.paused for each in study.trials[1:])


def test_a_paused_study_leaves_no_program_and_goes_on_in_the_middle_of_its_trial(client, suite, events):
    study = create(
        client, "paused", "steps.py", command={"environment": {"STEPS": "8", "STEP_SECONDS": "0.2"}}, trials=1
    )
    wait_until(lambda: study.trials and len(study.trials[0].measurements) >= 3, "it is measured")
    assert below(suite, "steps.py")
    study.pause()
    wait_until(lambda: not below(suite, "steps.py"), "its program ends")
    wait_until(lambda: study.trials[0].state is TrialState.PENDING, "its trial waits")
    assert study.state is StudyState.PAUSED
    (trial,) = study.trials
    before = metric_of(trial, "start")
    assert len(before) < 8
    study.resume()
    assert study.wait().state is StudyState.SUCCEEDED
    trial.refresh()
    assert (trial.state, trial.retries) == (TrialState.SUCCEEDED, ())
    assert metric_of(trial, "start") == [*before, *((step, 2) for step in range(len(before) + 1, 9))]
    assert [state for state, _ in courses(events())[0]] == ["PENDING", "RUNNING", "PENDING", "RUNNING", "SUCCEEDED"]


TRADE_OFF = {
    "objective": [minimize("loss"), maximize("accuracy")],
    "constraints": [at_most("memory", 50)],
    "sampler": "tpe",
    "known_points": [{"x": 0.2, "waste": 0}, {"x": 0.4, "waste": 0}, {"x": 0.4, "waste": 0.1}, {"x": 0.8, "waste": 0}],
    "search_space": {"x": uniform(0, 1), "waste": uniform(0, 0.5)},
    "trials": 5,
}


def trade(trial):
    x, waste = trial.hyperparameters["x"], trial.hyperparameters["waste"]
    return {"loss": x + waste, "accuracy": x - waste, "memory": 100 * x}


def test_programs_are_searched_for_a_front_under_a_constraint_from_the_trials_of_a_driven_study(client):
    wider = {**TRADE_OFF["search_space"], "x": uniform(0, 2)}
    told = client.create_study(
        "told", **{**TRADE_OFF, "search_space": wider, "known_points": [{"x": 1.5}], "sampler": "random", "trials": 40}
    )
    told.optimize(trade)
    study = create(
        client, "front", "trades.py", command={"metrics": [log_pattern(r"(?P<name>\w+)=(?P<value>\S+)")]}, **TRADE_OFF,
        prior=[prior("told")],
    )  # fmt: skip
    assert study.wait().state is StudyState.SUCCEEDED
    *known, suggested = study.trials
    assert [each.feasible for each in known] == [True, True, True, False]
    assert [each.values for each in known] == [(0.2, 0.2), (0.4, 0.4), (0.5, 0.4 - 0.1), (0.8, 0.8)]
    assert known[1].metrics["memory"] == 40
    # The third is worse than the second in both, and the fourth needs too much.
    front = [each.number for each in study.best_trials]
    assert front[:2] == [0, 1] and not {2, 3} & set(front)
    outside = sum(each.hyperparameters["x"] > 1 for each in told.trials)
    (warning,) = study.warnings
    assert warning.startswith(f"prior {told.name}: {outside} of 40 trials are left out: a value of 'x'")
    # Without the prior the same search draws the fifth trial at random.
    plain = client.create_study("plain", **TRADE_OFF, parallelism=1)
    plain.optimize(trade)
    assert dict(plain.trials[4].hyperparameters) != dict(suggested.hyperparameters)


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
    printed = hydro(suite, "trial", "reproduce", str(best.name))
    assert "largest difference: 0 (validation_loss at step" in printed
    assert "over 20 values" in printed


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
    wait_until(lambda: study.trials and len(study.trials[0].snapshot.measurements) >= 2, "it is measured")
    (program,) = [each for each in below(suite, marker) if "subprocess.Popen" in " ".join(each.cmdline())][-1:]
    before = {each.step: each.metrics["loss"] for each in study.trials[0].snapshot.measurements}
    worker = next(each for each in program.parents() if "hydro.worker" in each.cmdline())
    first_run = [each for each in psutil.process_iter() if _has(each, marker)]
    assert len(first_run) >= 2
    worker.kill()
    wait_until(
        lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in first_run),
        "what the program has started ends",
    )
    assert study.wait().state is StudyState.SUCCEEDED
    (trial,) = study.trials
    (retry,) = trial.retries
    assert retry.reason.startswith("its worker ended with exit code -9") and retry.lanes == 1
    assert retry.reason in trial.log
    measured = {each.step: each.metrics["loss"] for each in trial.snapshot.measurements}
    assert before.items() <= measured.items()
    assert [each.step for each in trial.snapshot.measurements] == list(range(1, 9))
    wait_until(lambda: not below(suite, marker), "the second run ends")


def _has(process, marker):
    try:
        return any(marker in each for each in process.cmdline())
    except psutil.Error:
        return False
