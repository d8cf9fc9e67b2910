"""The benchmark of search runs as the contract calls it, and its summary comes from its rows."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.search.cells import PARALLELISM, SAMPLERS
from benchmarks.search.subjects import subject
from benchmarks.search.summary import KEYS, summarize

ROOT = Path(__file__).parents[2]


def row(sampler, parallelism, name, ours, theirs):
    regrets = {"regrets": ours, "optuna_regrets": theirs, "resolution": 0.0}
    return {"sampler": sampler, "parallelism": parallelism, "subject": name, **regrets}


def test_the_summary_is_the_worst_of_the_geometric_means_over_subjects():
    rows = [
        row("tpe", 1, "a", [2.0] * 30, [1.0] * 30),
        row("tpe", 1, "b", [1.0] * 30, [2.0] * 30),
        row("tpe", 8, "a", [4.0, 1.0] * 15, [1.0, 1.0] * 15),
        row("tpe", 8, "b", [2.0] * 30, [2.0] * 30),
    ]
    summary = summarize(rows)
    assert tuple(summary) == KEYS
    assert summary["worst_regret_ratio_vs_optuna"] == pytest.approx(2**0.5)
    assert 1.2 < summary["worst_regret_ratio_lower_95"] < 2**0.5


def test_each_seed_is_an_instance_of_its_own_and_the_table_is_of_real_trainings():
    what = subject("branin")
    here = {"x0": 2.0, "x1": 3.0}
    assert what.value(here, 1) == what.value(here, 1) != what.value(here, 2)
    table = subject("digits table")
    lowest = {axis.name: int(axis.low) for axis in table.axes}
    assert table.value(lowest, 0) > table.least > 0 and table.spread > 0


@pytest.mark.slow
def test_the_quick_benchmark_of_search_runs_every_sampler_and_leaves_its_summary_null(tmp_path):
    path = tmp_path / "new folder" / "search.json"
    command = [sys.executable, "-m", "benchmarks.search", "--json", str(path), "--quick"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    report = json.loads(path.read_text())
    assert report["summary"] == dict.fromkeys(KEYS)
    assert [(each["sampler"], each["parallelism"]) for each in report["rows"]] == [
        (sampler, parallelism) for sampler in SAMPLERS for parallelism in PARALLELISM
    ]
    assert all(each["ratio"] > 0 and min(each["regrets"]) >= 0 for each in report["rows"])
