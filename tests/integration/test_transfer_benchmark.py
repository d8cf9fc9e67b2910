"""The benchmark of transfer runs as the contract calls it, and goes on where it stopped."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_quick_benchmark_of_transfer_runs_every_subject_in_both_arms(tmp_path):
    path = tmp_path / "transfer.json"
    command = [sys.executable, "-m", "benchmarks.transfer", "--json", str(path), "--quick"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    report = json.loads(path.read_text())
    figures = ("max_regret", "median_abs_drift_octaves", "max_abs_drift_octaves", "divergences")
    assert report["summary"] == dict.fromkeys(figures)
    assert len({row["subject"] for row in report["rows"]}) == 4
    assert {row["arm"] for row in report["rows"]} == {"target", "ours", "standard"}
