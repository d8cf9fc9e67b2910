"""The study service's benchmark runs as the contract calls it, and its summary comes from its rows."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.study_service.clients import SYSTEMS
from benchmarks.study_service.summary import KEYS, summarize

ROOT = Path(__file__).parents[2]


def cell(system, clients, trials, rate, report_ms=1.0):
    latency = {"p50": report_ms, "p99": 2 * report_ms}
    return {
        "what": "throughput",
        "system": system,
        "clients": clients,
        "trials_in_study": trials,
        "trials_per_second": rate,
        "milliseconds": {"ask": latency, "report": latency, "tell": latency},
        "cpu_ms_per_trial": {"total": 4.0},
    }


def test_the_summary_takes_the_worst_cell():
    rows = [
        cell(system, clients, trials, rate, report_ms=1.5 if trials else 1.0)
        for system, rate in (("hydro_unary", 600.0), ("optuna_rdb", 20.0), ("optuna_proxy", 10.0))
        for clients in (1, 8, 32)
        for trials in (0, 20_000)
    ]
    rows += [cell("optuna_rdb", 8, 20_000, 30.0)]
    rows += [{"what": "tpe", "trials_in_study": 10_000, "ask_ms": {"p50": 1.0, "p99": 7.0}}]
    summary = summarize(rows)
    assert tuple(summary) == KEYS
    assert (summary["ratio_vs_rdb"], summary["ratio_vs_proxy"]) == (20, 60)
    assert (summary["growth_ratio_20k"], summary["report_p99_ms_32"]) == (1.5, 3)
    assert (summary["trials_per_second_unary"], summary["trials_per_second_stream"]) == (600, None)
    assert (summary["ask_p99_ms_10k"], summary["cpu_ms_per_trial"]) == (7, 4)


@pytest.mark.slow
def test_the_quick_benchmark_of_the_study_service_runs_every_system_and_leaves_its_summary_null(tmp_path):
    path = tmp_path / "new folder" / "study_service.json"
    command = [sys.executable, "-m", "benchmarks.study_service", "--json", str(path), "--quick"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    report = json.loads(path.read_text())
    assert report["summary"] == dict.fromkeys(KEYS)
    throughput = [row for row in report["rows"] if row["what"] == "throughput"]
    assert [row["system"] for row in throughput] == list(SYSTEMS)
    assert all(row["trials"] > 0 and row["milliseconds"]["tell"]["p99"] > 0 for row in throughput)
    assert any(row["what"] == "tpe" and row["ask_ms"]["p99"] > 0 for row in report["rows"])
    assert any(row["what"] == "regret" and row["ahead"]["mean"] >= 0 for row in report["rows"])
    assert report["machine"]["cpu"]
