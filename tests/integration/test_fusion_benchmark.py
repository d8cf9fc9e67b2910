"""The benchmark of fusing runs as the contract calls it, and writes what the contract reads."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    path = tmp_path_factory.mktemp("benchmark") / "new folder" / "fusion.json"
    command = [sys.executable, "-m", "benchmarks.fusion", "--json", str(path), "--quick"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(path.read_text())


@pytest.mark.slow
def test_the_quick_benchmark_of_fusing_leaves_its_whole_summary_null(report):
    assert report["summary"] == {
        "tiny_speedup_vs_separate_sgd": None,
        "tiny_speedup_vs_separate_adamw": None,
        "tiny_speedup_vs_vmap_sgd": None,
        "tiny_speedup_vs_vmap_adamw": None,
        "min_planned_vs_best": None,
        "optimizer_step_vs_separate": None,
    }


@pytest.mark.slow
def test_the_quick_benchmark_of_fusing_runs_every_variant_of_every_model(report):
    steps = [row for row in report["rows"] if row["what"] == "step"]
    assert len({row["model"] for row in steps}) == 4
    assert all({"separate", "vmap", "fused"} <= row["milliseconds"].keys() for row in steps)
    assert any(row["choice"] for row in steps)
    assert {"step", "optimizer", "memory"} <= {row["what"] for row in report["rows"]}


@pytest.mark.slow
def test_the_report_of_a_benchmark_describes_the_machine(report):
    machine = report["machine"]
    assert machine["cpu"] and machine["cores"] and machine["memory_bytes"] and machine["versions"]["torch"]
