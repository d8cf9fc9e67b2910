"""The demo, as a user starts it: every promise about its figures holds, and nothing is left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
SECONDS = 600
KEYS = {
    "trials", "bundles", "max_fusion_count", "wall_seconds", "seconds_per_trial", "unfused_target_seconds_per_trial",
    "best_hyperparameters", "target_metric_transferred", "target_metric_default", "pipeline_step_seconds_alone",
    "pipeline_step_seconds_squeezed", "slot_trial_steps", "trial_steps",
}  # fmt: skip


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    # Its own folder for temporary files, which `nobody` can go through, to see what is left in it.
    temporary = Path(subprocess.check_output(["mktemp", "-d"], text=True).strip())
    temporary.chmod(0o711)
    file = folder / "demo.json"
    done = subprocess.run(
        [sys.executable, "-c", "from hydro.client.command import main; main()", "demo", "--json", str(file)],
        cwd=REPOSITORY,
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    yield json.loads(file.read_text()), done.stdout, list(temporary.iterdir())
    subprocess.run(["rm", "-rf", str(temporary)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS)
class TestDemo:
    def test_it_writes_the_promised_figures(self, demo):
        figures, _, _ = demo
        assert set(figures) == KEYS
        assert sum(figures["trials"].values()) == 64
        assert set(figures["trials"]) <= {"SUCCEEDED", "PRUNED", "FAILED"}

    def test_lanes_were_fused_and_trials_cost_less_than_the_target(self, demo):
        figures, _, _ = demo
        assert figures["max_fusion_count"] >= 8
        assert figures["seconds_per_trial"] < figures["unfused_target_seconds_per_trial"]

    def test_a_tenth_of_all_steps_ran_in_bubbles(self, demo):
        figures, _, _ = demo
        assert figures["slot_trial_steps"] >= 0.1 * figures["trial_steps"]

    def test_transferred_hyperparameters_are_better_than_the_defaults(self, demo):
        figures, _, _ = demo
        assert figures["target_metric_transferred"] > figures["target_metric_default"]

    def test_the_summary_is_printed(self, demo):
        _, printed, _ = demo
        assert "what the demo measured" in printed

    def test_nothing_is_left_behind(self, demo):
        _, _, left = demo
        assert left == []
