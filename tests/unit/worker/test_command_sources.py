"""What is found is put together to measurements."""

from hydro.client.commands import Command, Prometheus
from hydro.kit.line_metrics import LineMetrics, MetricPattern
from hydro.worker.command.launch import Surroundings, docker_run, text_of
from hydro.worker.command.place import TrialPlace
from hydro.worker.command.sources import FileSource, Gathering, LogSource, page_metrics
from hydro.worker.recipe import Lane, Recipe


def taken(*found):
    gathering = Gathering("loss")
    return [tuple(each) for one in found for each in gathering.take(one)]


def test_the_objective_ends_a_measurement_with_what_came_before_it():
    found = taken(LineMetrics({"accuracy": 0.5}, 1), LineMetrics({"loss": 2.0}), LineMetrics({"loss": 1.0}, 2))
    assert found == [(1, {"accuracy": 0.5, "loss": 2.0}), (2, {"loss": 1.0})]


def test_what_an_earlier_step_left_does_not_go_over():
    assert taken(LineMetrics({"accuracy": 0.5}, 1), LineMetrics({"loss": 2.0}, 2)) == [(2, {"loss": 2.0})]


def test_without_steps_measurements_are_numbered():
    assert taken(LineMetrics({"loss": 2.0}), LineMetrics({"a": 1.0}), LineMetrics({"loss": 1.0})) == [
        (1, {"loss": 2.0}),
        (2, {"a": 1.0, "loss": 1.0}),
    ]


def test_a_log_says_how_far_the_search_came():
    source = LogSource([MetricPattern(r"acc (?P<acc>\d)")], "loss")
    assert source.look(["acc 1", "other"], is_last=True) == []
    assert source.sought.startswith("1 of the log's 2 lines had metrics by")


def test_a_line_of_a_file_waits_for_its_rest(tmp_path):
    path = tmp_path / "m.jsonl"
    source = FileSource(path, "loss")
    assert source.look([], is_last=False) == []
    path.write_text('{"step": 1, "lo')
    assert source.look([], is_last=False) == []
    with path.open("a") as file:
        file.write('ss": 2}\n{"step": 2, "loss": 1}')
    assert [each.step for each in source.look([], is_last=False)] == [1]
    assert [each.step for each in source.look([], is_last=True)] == [2]
    assert source.look([], is_last=True) == []


def test_metrics_with_labels_have_them_in_their_name():
    page = '# TYPE loss gauge\nloss{split="test",a="b"} 0.5\nepoch 3\n'
    assert page_metrics(page) == {'loss{a="b",split="test"}': 0.5, "epoch": 3.0}


def test_values_are_written_as_a_program_reads_them():
    assert [text_of(each) for each in (True, 1, 1.0, 1e-07, "a b")] == ["true", "1", "1.0", "1e-07", "a b"]


def test_a_container_gets_variables_by_name_and_directories_at_their_paths(tmp_path):
    place = TrialPlace(tmp_path / "attempt", tmp_path / "checkpoint", tmp_path / "lock", is_shared=True)
    around = Surroundings(place, "unix:/run/s/socket", "very-secret", tmp_path / "s", 4242)
    recipe = Recipe("", "/code", "", 1.0, None, None, 1, (), 0, (), "loss", "", 0.0)
    command = Command(["python", "train.py"], image="python:3.12", metrics=[Prometheus()])
    lane = Lane("projects/p/studies/s/trials/3", {}, 0, None, 0)
    inherited = {"HYDRO_WORKER_CORES": "0,1", "CUDA_VISIBLE_DEVICES": "2"}
    words = docker_run(command, recipe, lane, around, "hydro-3", {"HYDRO_TRIAL_TOKEN": "very-secret"}, inherited)
    said = " ".join(words)
    assert "very-secret" not in said
    assert "--env HYDRO_TRIAL_TOKEN" in said
    assert f"--workdir {place.directory}" in said
    assert "--volume /code:/code:ro" in said
    assert "--cpuset-cpus 0,1" in said
    assert '--gpus "device=2"' in said
    assert "--publish 127.0.0.1:4242:4242" in said
    assert words[:4] == ("docker", "run", "--rm", "--init")
    assert words[-1] == "python:3.12"
