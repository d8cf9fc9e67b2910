import io
import json

from rich.console import Console

from hydro.client import Profile, StudyStatistics
from hydro.client.demo.figures import Figures, seconds_per_trial, unfused_seconds_per_trial
from hydro.client.demo.pipeline import PipelineStep, mean_seconds
from hydro.client.demo.summary import print_summary

KEYS = [
    "trials", "bundles", "max_fusion_count", "wall_seconds", "seconds_per_trial", "unfused_target_seconds_per_trial",
    "best_hyperparameters", "target_metric_transferred", "target_metric_default", "pipeline_step_seconds_alone",
    "pipeline_step_seconds_squeezed", "slot_trial_steps", "trial_steps",
]  # fmt: skip
FIGURES = Figures(
    trials={"PRUNED": 60, "SUCCEEDED": 4},
    bundles=7,
    max_fusion_count=16,
    wall_seconds=61.0,
    seconds_per_trial=0.5,
    unfused_target_seconds_per_trial=4.0,
    best_hyperparameters={"lr": 0.2, "batch_size": 64},
    target_metric_transferred=0.985,
    target_metric_default=0.97,
    pipeline_step_seconds_alone=0.4,
    pipeline_step_seconds_squeezed=0.402,
    slot_trial_steps=1500,
    trial_steps=9000,
)
STATISTICS = StudyStatistics({"PRUNED": 3, "SUCCEEDED": 1}, device_seconds=8.0, trial_steps=400)


def test_the_json_has_exactly_the_keys_that_are_promised(tmp_path):
    file = tmp_path / "demo.json"
    FIGURES.write(file)
    assert list(json.loads(file.read_text())) == KEYS


def test_the_time_per_trial_is_device_time_over_trials():
    assert seconds_per_trial(STATISTICS) == 2.0


def test_the_unfused_time_is_the_targets_step_times_the_mean_steps():
    profile = Profile((), separate_step_seconds=0.01, target_step_seconds=0.05, target_memory_bytes=1)
    assert unfused_seconds_per_trial(STATISTICS, profile) == 5.0


def test_the_mean_of_pipeline_steps():
    assert mean_seconds([PipelineStep(0, 0.1, False), PipelineStep(1, 0.3, True)]) == 0.2


def test_the_summary_shows_each_figure():
    console = Console(file=io.StringIO(), width=120)
    print_summary(FIGURES, console)
    text = console.file.getvalue()
    for expected in (
        "64  60 pruned",
        "at most 16",
        "0.50 s",
        "4.00 s",
        "8.0x",
        "lr 0.2",
        "98.50%",
        "97.00%",
        "+0.5%",
        "17%",
    ):
        assert expected in text
