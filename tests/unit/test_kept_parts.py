from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.kept import Kept


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A repository with the folders that a benchmark measures with, under `benchmarks/machine.py`'s eyes."""
    measured_with = ("protos", "kit", "services", "clients", "examples", "benchmarks/search")
    for folder in (*measured_with, "benchmarks/fusion", "docs"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "file").write_text("one")
    (tmp_path / "benchmarks" / "rounds.py").write_text("one")
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "benchmarks" / "machine.py"))
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments], cwd=folder, check=True)


def commit(folder: Path) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "a state")


def kept_in(folder: Path) -> Kept:
    return Kept(folder / "found.json", "search")


def test_a_part_is_taken_up_again_with_the_same_settings_and_sources_alone(tree):
    kept_in(tree).put("tpe 8/branin", {"trials": 60}, [0.5])
    assert kept_in(tree).get("tpe 8/branin", {"trials": 60}) == [0.5]
    assert kept_in(tree).get("tpe 8/branin", {"trials": 12}) is None
    assert kept_in(tree).get("tpe 1/branin", {"trials": 60}) is None


@pytest.mark.parametrize(
    ("changed", "is_measured_with"),
    [
        ("docs/file", False),
        ("benchmarks/fusion/file", False),
        ("services/file", True),
        ("examples/file", True),
        ("benchmarks/search/file", True),
        ("benchmarks/rounds.py", True),
    ],
)
def test_a_part_counts_until_what_it_was_measured_with_is_another(tree, changed, is_measured_with):
    kept_in(tree).put("one", {}, [0.5])
    (tree / changed).write_text("two")
    assert (machine.sources("search") is None) is is_measured_with
    commit(tree)
    assert (kept_in(tree).get("one", {}) is None) is is_measured_with


def test_a_changed_tree_is_told_from_its_commit(tree):
    before = machine.sources("search")
    assert before is not None
    (tree / "kit" / "file").write_text("two")
    assert machine.sources("search") is None
    kept_in(tree).put("one", {}, 1)
    assert kept_in(tree).get("one", {}) is None


def test_nothing_is_left_once_the_report_is_written(tree):
    kept = kept_in(tree)
    kept.put("one", {}, {"a": 1})
    assert json.loads((tree / "found.json.parts" / "one.json").read_text())["content"] == {"a": 1}
    kept.remove()
    assert not (tree / "found.json.parts").exists()
    kept.remove()
