"""Programs as trials, run by a worker against a coordinator of the test's making: real processes, real gRPC."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from hydro.api.coordinator.v1 import worker_service_pb2 as worker_pb
from hydro.api.type.v1 import command_pb2

SDK = "from hydro.client import trial\n"


def program(text: str, *, metrics: Any = (), **fields: Any) -> dict[str, Any]:
    command = command_pb2.Command(
        arguments=[sys.executable, "-c", text], stop_grace_seconds=5, trials_per_device=1, metrics=metrics
    )
    return {"task": None, "measured_steps": [], "max_lanes": 1, "command": _merged(command, fields)}


def _merged(command: command_pb2.Command, fields: dict[str, Any]) -> command_pb2.Command:
    command.MergeFrom(command_pb2.Command(**fields))
    return command


def pattern(text: str) -> command_pb2.MetricsSource:
    return command_pb2.MetricsSource(log_pattern=command_pb2.LogPattern(pattern=text))


LOSS = [pattern(r"step (?P<step>\d+) loss (?P<validation_loss>\S+)")]


def reports(fake: Any) -> list[worker_pb.LaneReport]:
    return [report for each in fake.rounds for report in each.reports]


def last(fake: Any) -> worker_pb.LaneReport:
    return reports(fake)[-1]


def sleeping(marker: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if marker in " ".join(process.info["cmdline"] or ()) and process.status() != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def test_what_a_log_says_is_measured_and_the_end_is_told(fake: Any, run_worker: Any, lane: Any) -> None:
    fake.offer(lane(0), **program("for s in (1, 2): print(f'step {s} loss {s / 4}')", metrics=LOSS))
    run_worker()
    assert fake.measured() == {("0", 1): {"validation_loss": 0.25}, ("0", 2): {"validation_loss": 0.5}}
    assert last(fake).finished
    assert not last(fake).HasField("value")
    assert "".join(report.log for report in reports(fake)) == "step 1 loss 0.25\nstep 2 loss 0.5\n"
    assert fake.released[0].failure == ""


def test_a_program_reports_and_finishes_by_the_sdk(fake: Any, run_worker: Any, lane: Any) -> None:
    text = SDK + (
        "lr = trial.hyperparameters['lr']\n"
        "assert trial.report(3, lr) is True\n"
        "assert trial.report(4, {'validation_loss': 2.0, 'accuracy': trial.seed}) is True\n"
        "trial.finish(0.125)\n"
    )
    fake.offer(lane(7, lr=0.5), **program(text))
    run_worker()
    assert fake.measured() == {("7", 3): {"validation_loss": 0.5}, ("7", 4): {"validation_loss": 2.0, "accuracy": 7.0}}
    assert (last(fake).finished, last(fake).value) == (True, 0.125)


def test_a_pruned_program_is_told_and_may_save_before_it_ends(
    fake: Any, run_worker: Any, lane: Any, tmp_path: Path
) -> None:
    fake.decide = lambda report: worker_pb.VERDICT_PRUNE
    text = SDK + (
        "import time\n"
        "if not trial.report(1, 1.0):\n"
        "    (trial.checkpoint_directory() / 'state').write_text('saved')\n"
        "    time.sleep(60)\n"
    )
    fake.offer(lane(0), **program(text, stop_grace_seconds=0.5))
    run_worker()
    assert (tmp_path / "artifacts/trials/0/checkpoint/state").read_text() == "saved"
    assert fake.measured().keys() == {("0", 1)}


def test_a_pruned_program_ends_with_all_that_it_started(fake: Any, run_worker: Any, lane: Any) -> None:
    fake.decide = lambda report: worker_pb.VERDICT_PRUNE
    marker = f"orphan-{time.monotonic_ns()}"
    text = (
        "import os, signal, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)', '{marker}'], start_new_session=True)\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('step 1 loss 1', flush=True)\n"
        "time.sleep(60)\n"
    )
    fake.offer(lane(0), **program(text, metrics=LOSS, stop_grace_seconds=0.2))
    run_worker()
    assert fake.measured().keys() == {("0", 1)}
    assert sleeping(marker) == []


def test_an_exit_code_fails_the_trial_with_the_end_of_its_standard_error(fake: Any, run_worker: Any, lane: Any) -> None:
    fake.decide = lambda report: worker_pb.VERDICT_STOP
    fake.offer(lane(0), **program("print('step 1'); raise SystemExit('no data at /data')", metrics=LOSS))
    run_worker()
    assert last(fake).failure == "it ended with exit code 1; the end of its standard error:\nno data at /data"
    assert "no data at /data" in last(fake).log


def test_a_program_that_measures_nothing_fails_with_what_was_looked_for(
    fake: Any, run_worker: Any, lane: Any, tmp_path: Path
) -> None:
    fake.decide = lambda report: worker_pb.VERDICT_STOP
    sources = [*LOSS, command_pb2.MetricsSource(json_lines_file=command_pb2.JsonLinesFile(path="m.jsonl"))]
    fake.offer(lane(0), **program("print('loss: 1')", metrics=sources))
    run_worker()
    failure = last(fake).failure
    assert "its objective 'validation_loss' was never measured" in failure
    assert "hydro.client.trial reported nothing" in failure
    assert "0 of the log's 1 lines had metrics by" in failure
    assert f"there is no file {tmp_path}/artifacts/trials/0/attempt-1/m.jsonl" in failure
    # A run before may have measured it.
    assert last(fake).finished


def test_an_expression_that_backtracks_fails_its_trial_and_not_its_worker(
    fake: Any, run_worker: Any, lane: Any
) -> None:
    text = "print('step 1 loss 0.5'); print(4096 * 'x', flush=True); import time; time.sleep(60)"
    fake.offer(lane(0), **program(text, metrics=[*LOSS, pattern(r"(?P<accuracy>(x+x+)+y)")], stop_grace_seconds=0.2))
    run_worker()
    assert "(x+x+)+y)' took 1 s on the line 'xxx" in last(fake).failure
    assert fake.released[0].failure == ""


def test_there_is_no_such_program(fake: Any, run_worker: Any, lane: Any) -> None:
    fake.decide = lambda report: worker_pb.VERDICT_STOP
    fake.offer(lane(0), **program("") | {"command": command_pb2.Command(arguments=["no-such-program"])})
    run_worker()
    assert "no such program" in last(fake).failure


def test_a_program_that_takes_too_long_fails(fake: Any, run_worker: Any, lane: Any) -> None:
    fake.decide = lambda report: worker_pb.VERDICT_STOP
    fake.offer(lane(0), **program("import time; time.sleep(60)", timeout_seconds=0.3))
    run_worker()
    assert last(fake).failure == "it took longer than timeout_seconds, 0.3"


def test_the_environment_is_an_allowlist_with_the_trial_in_it(
    fake: Any, run_worker: Any, lane: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HYDRO_DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    text = "import json, os, sys; json.dump([dict(os.environ), sys.argv[1:], os.getcwd()], open('seen.json', 'w'))"
    fields = program(text, environment={"LR": "${lr}", "GONE": "${momentum}"}, source_path=str(tmp_path))
    fields["command"].arguments.extend(["--lr=${lr}", "$${lr}", "${momentum}", "${hydro.seed}"])
    fake.offer(lane(3, lr=0.5), **fields)
    run_worker()
    directory = tmp_path / "artifacts/trials/3/attempt-1"
    environment, arguments, cwd = json.loads((directory / "seen.json").read_text())
    assert arguments == ["--lr=0.5", "${lr}", "3"]
    assert Path(cwd) == directory
    assert not {"HYDRO_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "GONE"} & environment.keys()
    assert environment["HP_LR"] == environment["LR"] == "0.5"
    assert environment["HYDRO_TRIAL_NAME"] == "projects/p/studies/s/trials/3"
    assert environment["HYDRO_CHECKPOINT_DIRECTORY"] == str(tmp_path / "artifacts/trials/3/checkpoint")
    assert environment["PYTHONPATH"].split(":")[0] == str(tmp_path)
    assert len(environment["HYDRO_TRIAL_TOKEN"]) >= 32
    assert json.loads((directory / "trial.json").read_text())["hyperparameters"] == {"lr": 0.5}


def test_a_file_and_an_endpoint_are_read(fake: Any, run_worker: Any, lane: Any) -> None:
    sources = [
        command_pb2.MetricsSource(json_lines_file=command_pb2.JsonLinesFile(path="out.jsonl")),
        command_pb2.MetricsSource(
            prometheus_endpoint=command_pb2.PrometheusEndpoint(
                path="/metrics", interval_seconds=0.1, step_metric="training_step"
            )
        ),
    ]
    text = (
        "import os, time, prometheus_client as p\n"
        "file = open('out.jsonl', 'w')\n"
        'file.write(\'{"step": 1, "validation_loss": 3}\\nnot json\\n\')\n'
        'file.write(\'{"step": 2, "validation_loss": 2}\')\n'
        "file.close()\n"
        "loss, step = p.Gauge('validation_loss', ''), p.Gauge('training_step', '')\n"
        "loss.set(0.5); step.set(9)\n"
        "p.start_http_server(int(os.environ['HYDRO_METRICS_PORT']), '127.0.0.1')\n"
        "time.sleep(1.5)\n"
    )
    fake.offer(lane(0), **program(text, metrics=sources))
    run_worker()
    measured = fake.measured()
    assert (measured["0", 1], measured["0", 2]) == ({"validation_loss": 3.0}, {"validation_loss": 2.0})
    assert measured["0", 9]["validation_loss"] == 0.5
    assert last(fake).finished


def test_programs_run_side_by_side_and_another_takes_a_place_that_is_free(
    fake: Any, run_worker: Any, lane: Any
) -> None:
    text = "import os, time\ntime.sleep(0.3)\nprint('step 1 loss', os.environ['HP_LR'])\n"
    fake.insertions = [lane(2, lr=0.25)]
    fields = program(text, metrics=LOSS, trials_per_device=2) | {"max_lanes": 2}
    fake.offer(lane(0), lane(1), **fields)
    run_worker()
    assert fake.measured().keys() == {("0", 1), ("1", 1), ("2", 1)}
    assert max(each.fusion_count for each in fake.rounds) == 2
    assert sum(report.finished for report in reports(fake)) == 3


def test_a_lost_lease_ends_the_programs(fake: Any, run_worker: Any, lane: Any, lost: Any) -> None:
    marker = f"lost-{time.monotonic_ns()}"
    fake.fault_at_renewal = lost
    fields = program(f"import time; marker = '{marker}'; time.sleep(60)")
    fake.offer(lane(0), duration_seconds=0.3, **fields)
    run_worker()
    assert sleeping(marker) == []
    assert reports(fake) == []


def test_a_release_lets_the_program_end_and_keeps_its_log(fake: Any, run_worker: Any, lane: Any) -> None:
    fake.on_round = lambda: setattr(fake, "release_requested", True)
    text = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('saving'), sys.exit(0)))\n"
        "print('step 1 loss 1', flush=True)\n"
        "time.sleep(60)\n"
    )
    fake.offer(lane(0), **program(text, metrics=LOSS))
    run_worker()
    assert last(fake).log.endswith("saving\n")
    assert not last(fake).finished
    assert fake.released[0].failure == ""


def test_what_a_program_measures_within_its_grace_counts(fake: Any, run_worker: Any, lane: Any) -> None:
    fake.on_round = lambda: setattr(fake, "release_requested", True)
    text = SDK + (
        "import signal, threading\n"
        "asked = threading.Event()\n"
        "signal.signal(signal.SIGTERM, lambda *_: asked.set())\n"
        "print(trial.report(1, 1.0), flush=True)\n"
        "asked.wait()\n"
        "print(trial.report(2, 0.5), flush=True)\n"
    )
    fake.offer(lane(0), **program(text))
    run_worker()
    assert fake.measured() == {("0", 1): {"validation_loss": 1.0}, ("0", 2): {"validation_loss": 0.5}}
    assert "".join(report.log for report in reports(fake)) == "True\nFalse\n"
    # It goes on elsewhere.
    assert not any(report.finished or report.failure for report in reports(fake))
