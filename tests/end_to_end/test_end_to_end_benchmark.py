"""The end-to-end benchmark, at a size that shows that it runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FIGURES = {
    "search_time_ratio",
    "total_time_ratio",
    "target_metric_hydro",
    "target_metric_optuna",
    "metric_difference_upper_95",
}


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_quick_end_to_end_benchmark_runs_both_arms_on_both_models(tmp_path) -> None:
    report = tmp_path / "end_to_end.json"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.end_to_end", "--json", str(report), "--quick"], cwd=ROOT, check=True
    )
    written = json.loads(report.read_text())
    assert written["summary"] == dict.fromkeys(FIGURES)
    assert written["machine"]["versions"]["torch"]
    arms = {(row["model"], row["arm"]): row for row in written["rows"]}
    assert arms.keys() == {(model, arm) for model in ("digits", "char_lm") for arm in ("optuna", "hydro")}
    for row in arms.values():
        assert sum(row["trials_by_state"].values()) == 8
        assert row["total_seconds"] > row["search_seconds"] > 0
    # The same seeds for both arms.
    assert len({tuple(row["target_metrics"]) for row in arms.values()}) == 1
    assert list(tmp_path.iterdir()) == [report]
