"""The benchmark of the squeezer runs as the contract calls it, and writes what the contract reads."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_quick_benchmark_of_the_squeezer_runs_every_arm_and_leaves_its_summary_null(tmp_path):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("this process has one core: the stage and its trials need one, the squeezer another")
    path = tmp_path / "squeezer.json"
    command = [sys.executable, "-m", "benchmarks.squeezer", "--json", str(path), "--quick"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    report = json.loads(path.read_text())
    arms = {row["arm"]: row for row in report["rows"] if row["what"] == "arm"}
    assert arms.keys() == {"none", "colocation", "reactive", "predictive"}
    assert arms["none"]["trial_percent_of_exclusive"] == 0
    assert arms["colocation"]["trial_percent_of_exclusive"] > 0
    assert arms["predictive"]["hook_share"] > 0
    assert {"stage", "arm", "gate"} == {row["what"] for row in report["rows"]}
    assert report["summary"] == dict.fromkeys(
        (
            "slowdown_percent_high",
            "colocation_slowdown_percent",
            "bubble_used_share",
            "trial_percent_of_exclusive",
            "end_to_quiet_p99_ms",
            "hook_share",
        )
    )
