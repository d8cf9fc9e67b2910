"""What ends programs while they run: their study's end before its time, its cancellation, a rule by time, themselves.

Programs of `waits.py` stay until the test lets them go.
"""

from __future__ import annotations

import pytest

from end_to_end.commands.command_runs import LOSSES, below, create
from end_to_end.history import check_history, most_running
from end_to_end.patience import wait_until
from end_to_end.shell import hydro
from hydro.client import StudyState, TrialState, by_time, log_pattern, stop_when, threshold
from hydro.kit.errors import FailedPrecondition

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
POINTS = (0.5, 0.25, 0.75)


@pytest.fixture
def start(client, tmp_path):
    """Starts a study of programs that stay, one for each of the points; there is room for all of them."""

    def start(study_id, points=POINTS, **settings):
        command = {
            "environment": {"OWN_SIGN": f"{tmp_path}/${{x}}"},
            "metrics": [log_pattern(r"step (?P<step>\d+) loss (?P<loss>\S+)")],
            "trials_per_device": 4,
        }
        known = {"known_points": [{"x": x} for x in points], "trials": len(points)}
        return create(client, study_id, "waits.py", command=command, **{**known, "parallelism": 4, **settings})

    return start


@pytest.fixture
def let_go(tmp_path):
    """Has a trial's program end: well, or with something wrong. Gives the trial when it has ended."""

    def let_go(study, number, wrong=""):
        whole = tmp_path / "whole"
        whole.write_text(wrong)
        trial = study.get_trial(number)
        whole.replace(tmp_path / str(trial.hyperparameters["x"]))
        wait_until(lambda: trial.refresh().state.has_ended, f"trial {number} ends")
        return trial

    return let_go


def wait_for_programs(study, *numbers):
    """Waits until the programs of exactly these trials run and have been measured."""

    def they_run():
        found = [each for each in study.trials if each.state is TrialState.RUNNING and each.measurements]
        return [each.number for each in found] == list(numbers)

    wait_until(they_run, f"the programs of the trials {numbers} run")


def wait_for_their_end(client, suite, program):
    wait_until(lambda: not below(suite, program), "the programs end")
    wait_until(lambda: not any(device.lease for device in client.list_devices()), "the devices are free")


ENDS = {
    "target": (stop_when(target_value=0.25), [1], "the target value 0.25 was reached: the best trial has 0.25"),
    "improvement": (
        stop_when(max_trials_without_improvement=1), [1, 2], "no trial of the last 1 was better than the best",
    ),
}  # fmt: skip
"""The rule, the trials whose programs end by themselves, and the reason that the study gives."""


@pytest.mark.parametrize("end", ENDS)
def test_a_study_that_ends_before_its_time_ends_the_programs_that_run(client, suite, start, let_go, end):
    stopping, ending, reason = ENDS[end]
    study = start(f"end-{end}", stopping=stopping)
    wait_for_programs(study, 0, 1, 2)
    assert below(suite, "waits.py")
    for number in ending:
        # What was measured on the way ends nothing.
        assert study.state is StudyState.SEARCHING
        assert let_go(study, number).state is TrialState.SUCCEEDED
    ended = study.wait()
    assert (ended.state, ended.state_reason) == (StudyState.SUCCEEDED, reason)
    for trial in study.trials:
        if trial.number not in ending:
            assert (trial.state, trial.state_reason) == (TrialState.CANCELLED, f"the study ended: {reason}")
    wait_for_their_end(client, suite, "waits.py")


def test_programs_that_fail_say_why_and_use_up_the_budget_of_their_study(client, suite, start, let_go):
    study = start("budget", failure_budget=2)
    wait_for_programs(study, 0, 1, 2)
    failed = let_go(study, 1, "reading the data\nno data at /data/1")
    wait_for_programs(study, 0, 2)
    assert study.state is StudyState.SEARCHING
    assert failed.state is TrialState.FAILED
    assert failed.state_reason == (
        "it ended with exit code 1; the end of its standard error:\nreading the data\nno data at /data/1"
    )
    assert (failed.value, failed.retries) == (0.25, ())
    printed = hydro(suite, "trial", "log", "budget", "1").splitlines()
    assert {"step 1 loss 0.25", "no data at /data/1"} <= set(printed)
    assert let_go(study, 2, "no data at /data/2").state is TrialState.FAILED
    with pytest.raises(FailedPrecondition, match="2 trials failed, and failure_budget is 2") as caught:
        study.wait()
    assert all(f"no data at /data/{number}" in str(caught.value) for number in (1, 2))
    assert study.get_trial(0).state is TrialState.CANCELLED
    wait_for_their_end(client, suite, "waits.py")


def test_a_cancelled_study_ends_programs_that_say_nothing(client, suite):
    command = {"metrics": [LOSSES], "environment": {"OWN_STAY_SECONDS": "600"}, "trials_per_device": 2}
    study = create(client, "cancelled", "prints.py", command=command, trials=8, parallelism=2)
    wait_until(lambda: [len(each.measurements) for each in study.trials] == [2, 2], "both are measured")
    assert below(suite, "prints.py")
    assert "cancelled" in hydro(suite, "study", "cancel", "cancelled")
    assert study.state is StudyState.CANCELLED
    assert {each.state for each in study.trials} == {TrialState.CANCELLED}
    assert {each.state_reason for each in study.trials} == {"the study was cancelled"}
    wait_for_their_end(client, suite, "prints.py")
    assert [len(each.measurements) for each in study.trials] == [2, 2]


def test_no_more_programs_run_at_once_than_the_study_allows(start, let_go, events):
    study = start("two", (0.1, 0.2, 0.3, 0.4), parallelism=2)
    wait_for_programs(study, 0, 1)
    wait_until(lambda: all(len(each.measurements) > 5 for each in study.trials), "another one could have started")
    assert len(study.trials) == 2
    # The first one stays, so that each of the others runs beside it.
    for number in (1, 2, 3):
        wait_for_programs(study, 0, number)
        let_go(study, number)
    let_go(study, 0)
    assert study.wait().state is StudyState.SUCCEEDED
    assert check_history(events()) == 4
    assert most_running(events()) == 2


WARMUP_SECONDS = 1.5


def test_a_rule_by_time_ends_a_program_at_its_first_measurement_after_that_time(start):
    # By steps the first one would end at once: all of its losses are above the bound.
    rule = by_time(threshold(1, 20, upper=0.5), 0.5, warmup_seconds=WARMUP_SECONDS)
    study = start("timed", (0.75, 0.25), pruner=rule, parallelism=1)
    assert study.wait().state is StudyState.SUCCEEDED
    bad, good = study.trials
    assert (bad.state, good.state) == (TrialState.PRUNED, TrialState.SUCCEEDED)
    *before, last = [each.elapsed_seconds for each in bad.measurements]
    assert all(seconds < WARMUP_SECONDS for seconds in before) and last >= WARMUP_SECONDS
    assert [each.step for each in good.measurements] == list(range(1, 21))
    assert good.measurements[-1].elapsed_seconds >= WARMUP_SECONDS
