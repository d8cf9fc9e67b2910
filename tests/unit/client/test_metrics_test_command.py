"""hydro metrics-test shows what expressions find, line by line."""

import pytest
from typer.testing import CliRunner

from hydro.client.command.main import build
from hydro.kit.errors import InvalidArgument, NotFound


def run(*arguments):
    return CliRunner().invoke(build(["metrics-test"]), ["metrics-test", *map(str, arguments)])


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "train.log"
    path.write_text("start\nepoch 1: loss 0.5\nepoch 2: loss nothing\n")
    return path


def test_lines_with_metrics_are_shown_with_them(log):
    shown = run("--pattern", r"epoch (?P<step>\d+): loss (?P<loss>\S+)", log)
    assert shown.exit_code == 0
    assert "2  step 1  loss=0.5  epoch 1: loss 0.5" in shown.output
    assert "start" not in shown.output
    assert "1 of 3 lines have metrics" in shown.output


def test_a_log_without_any_is_a_failure(log):
    shown = run("--pattern", r"accuracy (?P<accuracy>\S+)", log)
    assert shown.exit_code == 1
    assert "0 of 3 lines have metrics" in shown.output


def test_a_file_of_json_lines_is_shown_with_what_is_none(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"loss": 1}\noops\n')
    shown = run("--json-lines", path)
    assert "loss=1" in shown.output
    assert "no JSON object" in shown.output


def test_what_is_wrong_is_named(log, tmp_path):
    assert isinstance(run("--pattern", "(", log).exception, InvalidArgument)
    assert isinstance(run(log).exception, InvalidArgument)
    assert isinstance(run("--json-lines", tmp_path / "none").exception, NotFound)
