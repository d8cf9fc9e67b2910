import io
from dataclasses import replace

import pytest
from rich.console import Console

from hydro.client import StudyState, StudyStatistics, TrialKind, TrialState, asha, minimize, surrogate, uniform
from hydro.client.names import StudyName
from hydro.client.progress import View, render, seconds_left, summary_line
from hydro.client.snapshots import DeviceKind, DeviceSnapshot, DeviceState, StudySettings, StudySnapshot, TrialSnapshot

NAME = StudyName("default", "digits")
BEST = TrialSnapshot(
    name=NAME.trial(3),
    kind=TrialKind.SEARCH,
    state=TrialState.SUCCEEDED,
    state_reason="",
    hyperparameters={"lr": 0.25},
    measurements=(),
    value=0.0625,
    steps=800,
    seed=3,
    device_seconds=1.0,
    checkpoint=None,
    create_time=None,
    end_time=None,
    log="",
)
STUDY = StudySnapshot(
    name=NAME,
    etag="1",
    settings=StudySettings({"lr": uniform(0, 1)}, minimize("loss"), "tpe", asha(50, 800), surrogate(0.125), 64, 32, 0),
    state=StudyState.SEARCHING,
    state_reason="",
    warnings=("runs unshrunk",),
    surrogate="",
    best_trial=BEST.name,
    statistics=StudyStatistics({"RUNNING": 12, "PRUNED": 30, "SUCCEEDED": 2}, bundles=4, max_fusion_count=12),
    create_time=None,
    end_time=None,
)
SLOT = DeviceSnapshot("devices/gpu/slots/1", DeviceKind.SLOT, DeviceState.READY, "gpu", 1, (), 0.4, 0.05, "leases/7")


def shown(view):
    console = Console(file=io.StringIO(), width=120)
    console.print(render(view))
    return console.file.getvalue()


def test_the_view_shows_states_best_lanes_devices_and_time_left():
    text = shown(View(STUDY, 60.0, {BEST.name: BEST}, [SLOT]))
    for expected in (
        "SEARCHING",
        "1:00",
        "about 1:00 left",
        "lanes 12",
        "running 12",
        "pruned 30",
        "loss 0.0625",
        "lr=0.25",
    ):
        assert expected in text
    assert "devices/gpu/slots/1" in text
    assert "bubbles 40% of the time, 50 ms" in text
    assert "warning runs unshrunk" in text


def test_a_study_without_a_best_trial_says_so():
    assert "none yet" in shown(View(replace(STUDY, best_trial=None)))


def test_the_summary_line_has_the_states_and_the_best():
    line = summary_line(View(STUDY, 61.0, {BEST.name: BEST}))
    assert line == "digits SEARCHING 1:01 running 12 succeeded 2 pruned 30 best 0.0625"


@pytest.mark.parametrize(
    ("counts", "left"),
    [
        ({}, None),
        ({"RUNNING": 60}, None),
        ({"PRUNED": 32}, 10.0),
        ({"PAUSED": 16, "PENDING": 8}, 30.0),
        ({"PRUNED": 64}, 0.0),
    ],
)
def test_the_time_left_is_in_proportion_to_the_trials_left(counts, left):
    assert seconds_left(counts, 64, 10.0) == left
