"""The example, as a user starts it: a DeepSpeed pipeline, a study in its bubbles, a summary, and its end."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "examples" / "squeeze_deepspeed" / "run.py"
TRIALS = 8


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_command_fills_the_bubbles_of_a_deepspeed_pipeline_and_ends():
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--trials", str(TRIALS)],
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (trials,) = re.findall(r"^trials: (.*); at most (\d+) fused", done.stdout, re.MULTILINE)
    assert sum(map(int, re.findall(r"\d+", trials[0]))) == TRIALS
    assert int(trials[1]) > 1
    (steps,) = re.findall(r"^steps:  (\d+) of (\d+) in bubbles", done.stdout, re.MULTILINE)
    assert steps[0] == steps[1]
    stages = re.findall(r"^ +(\d)  +(\d+)  +[\d.]+ s  +([\d.]+) s, +\d+%", done.stdout, re.MULTILINE)
    assert [int(stage) for stage, _, _ in stages] == [0, 1, 2, 3]
    assert all(int(made) > 0 for _, made, _ in stages)
    assert any(float(worked) > 0 for _, _, worked in stages)
