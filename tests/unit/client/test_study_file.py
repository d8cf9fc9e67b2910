import inspect
import typing
from pathlib import Path

import pytest

from hydro.client import (
    Client,
    Command,
    InBubbles,
    asha,
    by_time,
    choice,
    hyperband,
    integer,
    json_lines,
    learning_curve,
    log_pattern,
    logint,
    loguniform,
    median,
    minimize,
    no_pruning,
    patience,
    percentile,
    population,
    prometheus,
    successive_halving,
    threshold,
    uniform,
)
from hydro.client.pruning import Pruner
from hydro.client.study_file import read_study
from hydro.client.study_keys import KEYS
from hydro.client.surrogates import surrogate
from hydro.kit.errors import InvalidArgument, NotFound

STUDY = """
id: digits
task: digits:Digits
source_path: examples
search_space:
  lr: {loguniform: [1e-3, 1]}
  momentum: {uniform: [0.5, 0.99], when: {batch_size: [64]}}
  batch_size: {choice: [64, 128]}
  layers: {integer: [2, 8], step: 2}
  dropout: {uniform: [0, 0.5], transfer: false}
objective: {minimize: validation_loss}
pruner: {asha: {min_steps: 50, max_steps: 800, eta: 4}}
surrogate: {width: 0.125, depth: 0.5, verify: [ladder]}
trials: 64
"""


def written(folder, text):
    file = folder / "study.yaml"
    file.write_text(text)
    return file


def test_a_file_gives_the_arguments_of_create_study(tmp_path):
    assert read_study(written(tmp_path, STUDY)) == {
        "study_id": "digits",
        "task": "digits:Digits",
        "source_path": str(tmp_path.resolve() / "examples"),
        "search_space": {
            "lr": loguniform(1e-3, 1),
            "momentum": uniform(0.5, 0.99).when(batch_size=[64]),
            "batch_size": choice([64, 128]),
            "layers": integer(2, 8, step=2),
            "dropout": uniform(0, 0.5, transfer=False),
        },
        "objective": minimize("validation_loss"),
        "pruner": asha(50, 800, 4),
        "surrogate": surrogate(0.125, depth=0.5, verify=["ladder"]),
        "trials": 64,
    }


PRUNERS = {
    "asha: {min_steps: 50, max_steps: 800, eta: 4}": asha(50, 800, 4),
    "hyperband: {min_steps: 1, max_steps: 81}": hyperband(1, 81),
    "successive_halving: {min_steps: 1, max_steps: 9, bootstrap_count: 3}": successive_halving(1, 9, bootstrap_count=3),
    "median: {interval_steps: 1, max_steps: 9, startup_trials: 3}": median(1, 9, startup_trials=3),
    "percentile: {percentile: 25, interval_steps: 1, max_steps: 9}": percentile(25, 1, 9),
    "threshold: {interval_steps: 1, max_steps: 9, upper: 2.5}": threshold(1, 9, upper=2.5),
    "learning_curve: {interval_steps: 1, max_steps: 9, confidence: 0.9}": learning_curve(1, 9, confidence=0.9),
    "patience: {rule: {percentile: {percentile: 25}}, patience: 2, interval_steps: 1, max_steps: 9}": patience(
        percentile(25, 1, 9), 2, 1, 9
    ),
    "patience: {rule: {learning_curve: {warmup_steps: 3}}, patience: 2, interval_steps: 1, max_steps: 9}": patience(
        learning_curve(1, 9, warmup_steps=3), 2, 1, 9
    ),
    "patience: {patience: 2, interval_steps: 1, max_steps: 9}": patience(None, 2, 1, 9),
    "by_time: {rule: {median: {interval_steps: 1, max_steps: 9}}, interval_seconds: 30, warmup_seconds: 60}": by_time(
        median(1, 9), 30, warmup_seconds=60
    ),
    "none: {max_steps: 9, interval_steps: 3}": no_pruning(9, interval_steps=3),
}


@pytest.mark.parametrize("written_as", PRUNERS)
def test_a_pruner_can_be_written_in_a_file(tmp_path, written_as):
    text = STUDY.replace("asha: {min_steps: 50, max_steps: 800, eta: 4}", written_as)
    assert read_study(written(tmp_path, text))["pruner"] == PRUNERS[written_as]


STUDY_FILES = sorted((Path(__file__).parents[3] / "examples").rglob("*.y*ml"))


@pytest.mark.parametrize("file", STUDY_FILES, ids=lambda file: file.stem)
def test_a_study_beside_the_examples_is_read_and_finds_what_it_runs(file):
    read = read_study(file)
    program = f"{read['task'].partition(':')[0]}.py" if read["task"] else Path(read["command"].arguments[1]).name
    assert (Path(read["source_path"]) / program).is_file()


def test_there_are_studies_beside_the_examples():
    assert {"digits", "digits_population", "char_lm", "study"} <= {each.stem for each in STUDY_FILES}


def test_no_pruner_is_left_out_of_the_ones_above():
    assert {type(each) for each in PRUNERS.values()} == set(typing.get_args(Pruner))


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("id: digits", "", "id: is missing"),
        ("trials: 64", "trails: 64", "trails: is no key of a study"),
        ("{loguniform: [1e-3, 1]}", "{lognormal: [1e-3, 1]}", "search_space.lr: .*exactly one of uniform, loguniform"),
        ("{loguniform: [1e-3, 1]}", "{loguniform: [small, 1]}", r"search_space.lr.loguniform: \['small', 1\]"),
        ("{loguniform: [1e-3, 1]}", "0.1", "search_space.lr: 0.1 is no mapping"),
        ("min_steps: 50", "minimum: 50", "pruner.asha: .*unexpected keyword argument 'minimum'"),
    ],
)
def test_a_wrong_field_is_named_with_its_value(tmp_path, before, after, message):
    with pytest.raises(InvalidArgument, match=message):
        read_study(written(tmp_path, STUDY.replace(before, after)))


def test_a_population_can_be_written_in_a_file(tmp_path):
    there = "population: {interval_steps: 50, max_steps: 800, quantile: 0.5}"
    text = STUDY.replace("pruner: {asha: {min_steps: 50, max_steps: 800, eta: 4}}", there)
    arguments = read_study(written(tmp_path, text))
    assert arguments["population"] == population(50, 800, quantile=0.5) and "pruner" not in arguments
    with pytest.raises(InvalidArgument, match=r"study.population: .*unexpected keyword argument 'interval'"):
        read_study(written(tmp_path, text.replace("interval_steps", "interval")))


def test_a_file_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(NotFound, match="does not exist"):
        read_study(tmp_path / "none.yaml")


def test_what_is_not_yaml_is_refused(tmp_path):
    with pytest.raises(InvalidArgument, match="is not YAML"):
        read_study(written(tmp_path, "a: [1"))


COMMAND = """
id: digits
source_path: examples
command:
  arguments: [python, "${hydro.source_path}/train.py", --epochs, 8]
  environment: {SEED: 3}
  timeout_seconds: 60
  metrics:
    - log_pattern: 'loss (?P<loss>[0-9.]+)'
    - json_lines: metrics.jsonl
    - prometheus: {step_metric: epoch}
search_space: {lr: {loguniform: [1e-3, 1]}}
objective: {minimize: loss}
"""


def test_a_command_is_read_with_its_numbers_as_text(tmp_path):
    read = read_study(written(tmp_path, COMMAND))
    assert read["command"] == Command(
        ["python", "${hydro.source_path}/train.py", "--epochs", "8"],
        environment={"SEED": "3"},
        timeout_seconds=60,
        metrics=[log_pattern("loss (?P<loss>[0-9.]+)"), json_lines("metrics.jsonl"), prometheus(step_metric="epoch")],
    )


def with_in_bubbles(given):
    return COMMAND.replace("  timeout_seconds: 60\n", f"  in_bubbles: {given}\n")


def test_leave_to_run_in_bubbles_is_read(tmp_path):
    read = read_study(written(tmp_path, with_in_bubbles("{memory_bytes: 4096, grace_seconds: 0.01}")))
    assert read["command"].in_bubbles == InBubbles(memory_bytes=4096, grace_seconds=0.01)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ("true", "command.in_bubbles"),
        ("{}", "command.in_bubbles.memory_bytes"),
        ("{memory_bytes: 4 GiB}", "command.in_bubbles.memory_bytes"),
        ("{memory_bytes: 0.5}", "command.in_bubbles.memory_bytes"),
        ("{memory_bytes: 1, grace: 1}", "command.in_bubbles.grace"),
    ],
)
def test_leave_that_says_something_else_is_refused_by_its_key(tmp_path, given, field):
    with pytest.raises(InvalidArgument) as caught:
        read_study(written(tmp_path, with_in_bubbles(given)))
    assert [each.field for each in caught.value.violations] == [field]


def test_a_list_is_a_command_too(tmp_path):
    text = "id: a\ncommand: [train, 1]\nsearch_space: {lr: {uniform: [0, 1]}}\nobjective: {minimize: loss}"
    assert read_study(written(tmp_path, text))["command"] == Command(["train", "1"])


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ("command: train", "command"),
        ("command: {arguments: train}", "command.arguments"),
        ("command: {arguments: [train], shell: true}", "command.shell"),
        ("command: {arguments: [train], metrics: [{regex: a}]}", "command.metrics[0]"),
    ],
)
def test_a_wrong_command_is_named(tmp_path, wrong, field):
    text = f"id: digits\n{wrong}\nsearch_space: {{lr: {{uniform: [0, 1]}}}}\nobjective: {{minimize: loss}}"
    with pytest.raises(InvalidArgument) as caught:
        read_study(written(tmp_path, text))
    assert [each.field for each in caught.value.violations] == [field]


def test_every_argument_of_create_study_can_be_written_in_a_file():
    arguments = [name for name in inspect.signature(Client.create_study).parameters if name != "self"]
    assert sorted(each.argument for each in KEYS.values()) == sorted(arguments)


@pytest.mark.parametrize(
    ("domain", "field", "message"),
    [
        ("{loguniform: [1e-3, 1], step: 0.1}", "search_space.lr.step", "only uniform and integer have one"),
        ("{choice: [1, 2], step: 1}", "search_space.lr.step", "only uniform and integer have one"),
        ("{integer: [2, 8], step: 1.5}", "search_space.lr.step", "1.5 is no whole number"),
        ("{uniform: [0, 1], when: {batch_size: 64}}", "search_space.lr.when.batch_size", "give a list of values"),
    ],
)
def test_what_a_domain_has_no_place_for_is_named(tmp_path, domain, field, message):
    with pytest.raises(InvalidArgument, match=message) as caught:
        read_study(written(tmp_path, STUDY.replace("{loguniform: [1e-3, 1]}", domain)))
    assert [each.field for each in caught.value.violations] == [field]


def test_bounds_of_whole_numbers_are_whole_numbers(tmp_path):
    read = read_study(written(tmp_path, STUDY.replace("{integer: [2, 8], step: 2}", "{logint: [1, 1e+3]}")))
    assert read["search_space"]["layers"] == logint(1, 1000)
    with pytest.raises(InvalidArgument, match=r"search_space.layers.integer: .*2.5 is no whole number"):
        read_study(written(tmp_path, STUDY.replace("{integer: [2, 8], step: 2}", "{integer: [2.5, 8]}")))
