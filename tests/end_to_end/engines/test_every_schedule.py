"""The adapter for torch on each kind of schedule, and `hydro bubbles` on a run whose script says nothing of Hydro."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

RANKS, MICROBATCHES = 2, 4
HERE = Path(__file__).parent
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(RANKS))
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schedules")
    command = [*TORCHRUN, str(HERE / "every_schedule.py"), str(folder)]
    subprocess.run(command, check=True, env=ENVIRONMENT, timeout=200)
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(RANKS)]


@pytest.mark.parametrize(
    ("schedule", "chunks", "splits"),
    [
        ("1F1B", 1, False),
        ("GPipe", 1, False),
        ("Interleaved1F1B", 2, False),
        ("LoopedBFS", 2, False),
        ("InterleavedZeroBubble", 2, True),
    ],
)
def test_schedule_is_told_as_it_runs_and_computes_the_same(told, schedule, chunks, splits):
    for rank, by_schedule in enumerate(told):
        run = by_schedule[schedule]
        assert run["hooked"] == run["alone"]
        assert len(run["alone"]) == (3 * MICROBATCHES if rank == RANKS - 1 else 0)
        first, *later = run["steps"]
        assert later == [first] * 2
        assert run["changes"] == 0
        assert [index for _, index in first] == list(range(len(first)))
        counts = Counter(activity for activity, _ in first)
        assert counts["FORWARD"] == counts["BACKWARD"] == MICROBATCHES * chunks
        assert (counts["WEIGHT"] > 0) == splits
        assert counts["WAIT"] >= MICROBATCHES


def test_hydro_bubbles_profiles_a_run_whose_script_says_nothing(tmp_path):
    script = [str(HERE / "train_pipeline.py"), "--forward-seconds", "0.01", "--backward-seconds", "0.02"]
    options = ["--steps", "4", "--skip-steps", "1", "--stop", "--output", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from hydro.client.command.main import main; main()", "bubbles", *options,
         "--", *TORCHRUN, *script, "--output", str(tmp_path)],
        check=True, env=ENVIRONMENT, timeout=200, capture_output=True, text=True,
    )  # fmt: skip
    assert "1F1B: 2 stages, 4 microbatches, 4 steps" in done.stdout
    report = json.loads((tmp_path / "bubbles.json").read_text())
    assert report["theory_bubble_share"] == pytest.approx(1 / 5)
    assert [each["stage"] for each in report["by_stage"]] == [0, 1]
    assert all(0 < each["waiting_share"] < 1 for each in report["by_stage"])
    assert (tmp_path / "bubbles.png").read_bytes().startswith(b"\x89PNG")
