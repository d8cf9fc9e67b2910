"""What a study must be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hydro.coordinator.pruning_rules import AshaPruning, NoPruning
from hydro.coordinator.search_space import FloatDomain, Parameter, SearchSpace
from hydro.coordinator.study import Goal, Objective, Sampler, StudySpec, Task
from hydro.coordinator.validation import validate_spec, validate_study_id


@pytest.fixture
def spec(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (tmp_path / "package" / "task.py").write_text("raise RuntimeError('imported')\n")
    return StudySpec(
        task=Task("package.task:Task", str(tmp_path)),
        search_space=SearchSpace((Parameter("lr", FloatDomain(0.1, 1.0)),)),
        objective=Objective("loss", Goal.MINIMIZE),
        sampler=Sampler.TPE,
        pruning=AshaPruning(1, 2),
        max_steps=8,
        surrogate_width=1.0,
        max_trials=4,
        parallelism=2,
        seed=0,
    )


def fields(spec):
    return [violation.field for violation in validate_spec(spec)]


def test_a_right_study_is_right_and_its_code_is_not_imported(spec):
    assert validate_spec(spec) == []


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"max_trials": 0}, "study.max_trials"),
        ({"parallelism": 0}, "study.parallelism"),
        ({"surrogate_width": 0.0}, "study.surrogate_width"),
        ({"surrogate_width": 1.01}, "study.surrogate_width"),
        ({"surrogate_width": float("nan")}, "study.surrogate_width"),
        ({"surrogate_depth": 0.0, "surrogate_width": 0.5}, "study.surrogate_depth"),
        ({"surrogate_depth": float("nan"), "surrogate_width": 0.5}, "study.surrogate_depth"),
        ({"surrogate_depth": 0.5}, "study.surrogate_depth"),
        ({"max_steps": -1}, "study.max_steps"),
        ({"seed": -1}, "study.seed"),
        ({"objective": Objective("", Goal.MINIMIZE)}, "study.objective.metric"),
        ({"pruning": AshaPruning(9, 2)}, "study.pruner.asha.min_steps"),
        ({"search_space": SearchSpace(())}, "study.search_space.parameters"),
        ({"task": Task("task")}, "study.task.entry_point"),
        ({"task": Task("nosuchmodule:Task")}, "study.task.entry_point"),
        ({"task": Task("package.other:Task")}, "study.task.entry_point"),
        ({"task": Task("task:Task", "/no/such/folder")}, "study.task.source_path"),
    ],
)
def test_what_is_wrong_is_named(spec, change, field):
    assert fields(replace(spec, **change)) == [field]


def test_everything_wrong_is_named_at_once(spec):
    wrong = replace(spec, max_trials=0, parallelism=0, surrogate_width=2.0, task=Task("?"))
    assert len(fields(wrong)) == 4


def test_a_study_that_its_caller_drives_needs_no_limit_of_steps(spec):
    assert validate_spec(replace(spec, task=None, max_steps=0, pruning=NoPruning())) == []
    assert fields(replace(spec, max_steps=0, pruning=NoPruning())) == ["study.max_steps"]


@pytest.mark.parametrize("study_id", ["", "A", "-a", "a" * 64, "a/b", "ä"])
def test_a_wrong_study_id_is_refused(study_id):
    assert [violation.field for violation in validate_study_id(study_id)] == ["study_id"]
