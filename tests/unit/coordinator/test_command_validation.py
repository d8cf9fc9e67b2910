"""What a command must be, found before anything is stored."""

from dataclasses import replace

import pytest

from hydro.coordinator.command import Command, InBubbles, JsonLinesFile, LogPattern, PrometheusEndpoint
from hydro.coordinator.command_messages import command_message, command_of
from hydro.coordinator.pruning_rules import NoPruning
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.storage.documents import work_document, work_of
from hydro.coordinator.study import Goal, Objective, Sampler, StudySpec, Task
from hydro.coordinator.validation import validate_spec


def space(*names):
    return SearchSpace(tuple(Parameter(name, FloatDomain(0.1, 1.0)) for name in names))


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "train.py").write_text("")
    everything = Command(
        ("python", "${hydro.source_path}/train.py", "--lr=${lr}", "$${lr}"),
        {"LR": "${lr}", "SEED": "${hydro.seed}"},
        image="python:3.12",
        source_path=str(tmp_path),
        timeout_seconds=5.0,
        trials_per_device=2,
        metrics=(LogPattern(r"(?P<loss>\d+)"), JsonLinesFile("out/m.jsonl"), PrometheusEndpoint(step_metric="epoch")),
    )
    return StudySpec(
        task=None,
        search_space=space("lr", "optimizer.momentum"),
        objective=Objective("loss", Goal.MINIMIZE),
        sampler=Sampler.TPE,
        pruning=NoPruning(),
        max_steps=0,
        surrogate_width=1.0,
        max_trials=4,
        parallelism=2,
        seed=0,
        command=everything,
    )


IN_BUBBLES = InBubbles(memory_bytes=1 << 30, shortest_seconds=0.02)


def test_a_command_with_leave_to_run_in_bubbles_survives_storage_and_the_wire(spec):
    command = replace(spec.command, image="", in_bubbles=IN_BUBBLES)
    assert validate_spec(replace(spec, command=command)) == []
    assert work_of(work_document(command)) == command
    assert command_of(command_message(command)) == command


def test_a_command_of_an_older_release_has_no_leave_to_run_in_bubbles(spec):
    document = work_document(spec.command)
    del document["command"]["in_bubbles"]
    assert work_of(document) == spec.command


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"memory_bytes": 0}, "study.command.in_bubbles.memory_bytes"),
        ({"shortest_seconds": -1.0}, "study.command.in_bubbles.shortest_seconds"),
        ({"shortest_seconds": float("nan")}, "study.command.in_bubbles.shortest_seconds"),
        ({"grace_seconds": 2.0}, "study.command.in_bubbles.grace_seconds"),
    ],
)
def test_what_a_bubble_cannot_have_is_refused(spec, change, field):
    command = replace(spec.command, image="", in_bubbles=replace(IN_BUBBLES, **change))
    assert [each.field for each in validate_spec(replace(spec, command=command))] == [field]


def test_a_container_is_not_let_into_bubbles(spec):
    command = replace(spec.command, in_bubbles=IN_BUBBLES)
    (violation,) = validate_spec(replace(spec, command=command))
    assert violation.field == "study.command.in_bubbles"
    assert "no signal stops the container" in violation.description


def test_a_right_command_is_right_and_survives_storage_and_the_wire(spec):
    assert validate_spec(spec) == []
    assert work_of(work_document(spec.command)) == spec.command
    assert command_of(command_message(spec.command)) == spec.command
    assert not spec.is_driven


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"arguments": ()}, "study.command.arguments"),
        ({"arguments": ("",)}, "study.command.arguments"),
        ({"arguments": ("a", "${rl}")}, "study.command.arguments[1]"),
        ({"arguments": ("a", "${lr")}, "study.command.arguments[1]"),
        ({"arguments": ("a", "\x00")}, "study.command.arguments[1]"),
        ({"arguments": ("python", "train.py")}, "study.command.arguments[1]"),
        ({"environment": {"A": "${hydro.token}"}}, "study.command.environment[A]"),
        ({"environment": {"HYDRO_TRIAL_TOKEN": "x"}}, "study.command.environment[HYDRO_TRIAL_TOKEN]"),
        ({"environment": {"HP_LR": "x"}}, "study.command.environment[HP_LR]"),
        ({"environment": {"A=B": "x"}}, "study.command.environment[A=B]"),
        ({"image": "--privileged"}, "study.command.image"),
        ({"source_path": "/no/such/folder"}, "study.command.source_path"),
        ({"timeout_seconds": -1.0}, "study.command.timeout_seconds"),
        ({"timeout_seconds": float("nan")}, "study.command.timeout_seconds"),
        ({"stop_grace_seconds": 601.0}, "study.command.stop_grace_seconds"),
        ({"trials_per_device": 300}, "study.command.trials_per_device"),
        ({"metrics": (LogPattern("("),)}, "study.command.metrics[0].log_pattern.pattern"),
        ({"metrics": (JsonLinesFile("../m"),)}, "study.command.metrics[0].json_lines_file.path"),
        ({"metrics": (PrometheusEndpoint("m"),)}, "study.command.metrics[0].prometheus_endpoint.path"),
        ({"metrics": (PrometheusEndpoint("/", 0.0),)}, "study.command.metrics[0].prometheus_endpoint.interval_seconds"),
    ],
)
def test_what_is_wrong_with_a_command_is_named(spec, change, field):
    found = validate_spec(replace(spec, command=replace(spec.command, **change)))
    assert [violation.field for violation in found] == [field]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"search_space": space("lr", "LR")}, "study.search_space.parameters[1].name"),
        ({"search_space": space("lr", "hydro.seed")}, "study.search_space.parameters[1].name"),
        ({"surrogate_width": 0.5}, "study.surrogate_width"),
        ({"task": Task("json:JSONDecoder"), "max_steps": 1}, "study.command"),
    ],
)
def test_what_a_study_with_a_command_cannot_have_is_named(spec, change, field):
    assert [violation.field for violation in validate_spec(replace(spec, **change))] == [field]
