"""Recorded steps become shares, bubbles and fits, on made-up stages whose numbers are known."""

from __future__ import annotations

import json

import pytest

from hydro.kit.errors import FailedPrecondition
from hydro.squeezer.hooks.engine import PipelinePlace
from hydro.squeezer.hooks.events import Activity
from hydro.squeezer.hooks.recorder_settings import RecorderSettings
from hydro.squeezer.hooks.stage_hook import StageHook
from hydro.squeezer.hooks.stage_recorder import StageRecorder
from hydro.squeezer.pipeline import OperationKind, StageMemory, bubble_share, one_forward_one_backward
from hydro.squeezer.profiling.picture import save_picture
from hydro.squeezer.profiling.recording import Recording
from hydro.squeezer.profiling.report import make_report
from hydro.squeezer.profiling.text import to_text

STAGES, MICROBATCHES, STEPS = 4, 4, 5
FORWARD_NS, BACKWARD_NS, GAP_NS = 10_000_000, 20_000_000, 2_000_000
GIB = 1 << 30


def exact_schedule():
    """Begin and end of each operation of a 1F1B step without jitter, by stage: each starts when it can."""
    orders = [one_forward_one_backward(STAGES, stage, MICROBATCHES) for stage in range(STAGES)]
    ended, times = {}, [[] for _ in orders]
    while any(len(done) < len(order) for done, order in zip(times, orders, strict=True)):
        for stage, order in enumerate(orders):
            if len(times[stage]) == len(order):
                continue
            operation = order[len(times[stage])]
            is_forward = operation.kind is OperationKind.FORWARD
            peer = stage - 1 if is_forward else stage + 1
            if 0 <= peer < STAGES and (peer, operation) not in ended:
                continue
            free_ns = times[stage][-1][2] if times[stage] else 0
            begin_ns = max(free_ns, ended.get((peer, operation), 0))
            end_ns = begin_ns + (FORWARD_NS if is_forward else BACKWARD_NS)
            ended[stage, operation] = end_ns
            times[stage].append((operation, begin_ns, end_ns))
    return times


def write_recording(folder, boot=1, missing=()):
    schedule = exact_schedule()
    window_ns = max(each[-1][2] for each in schedule)
    period_ns = window_ns + GAP_NS
    for stage, times in enumerate(schedule):
        steps, spans = [], []
        for step in range(STEPS):
            origin_ns = 10**9 + step * period_ns
            steps.append((step, origin_ns, origin_ns + window_ns))
            free_ns, index = 0, 0
            for operation, begin_ns, end_ns in times:
                activity = Activity.FORWARD if operation.kind is OperationKind.FORWARD else Activity.BACKWARD
                spans.append((step, Activity.WAIT, index, origin_ns + free_ns, origin_ns + begin_ns))
                spans.append((step, activity, index + 1, origin_ns + begin_ns, origin_ns + end_ns))
                free_ns, index = end_ns, index + 2
            spans.append((step, Activity.COLLECTIVE, index, origin_ns + free_ns, origin_ns + window_ns))
        content = {
            "stage": stage, "stages": STAGES, "microbatches": MICROBATCHES, "schedule": "1F1B", "replica": 0,
            "chunks": 1, "host": "here", "boot": boot, "wall_minus_monotonic_ns": 5, "dropped": 0,
            "hook_cost_ns": 50_000 * STEPS,
            "steps": steps,
            "spans": spans,
            "memory": {
                "reserved_bytes": 3 * GIB, "peak_reserved_bytes": 5 * GIB, "total_bytes": 40 * GIB,
                "free_bytes": 20 * GIB, "smallest_free_bytes": 16 * GIB,
            },
        }  # fmt: skip
        if stage not in missing:
            (folder / f"stage-0-{stage}.json").write_text(json.dumps(content))
    return window_ns, period_ns


def test_bubble_share_of_an_exact_schedule_is_the_theory(tmp_path):
    window_ns, period_ns = write_recording(tmp_path)
    report = make_report(Recording.load(tmp_path))
    theory = bubble_share(STAGES, MICROBATCHES)
    assert report.theory_bubble_share == theory
    assert [each.bubble_share for each in report.by_stage] == pytest.approx([theory] * STAGES)
    # The time between two steps is no bubble: trials get less of all time than of the window.
    assert report.waiting_share == pytest.approx(theory * window_ns / period_ns)
    assert report.idle_stages == pytest.approx(STAGES * report.waiting_share)
    assert report.step_seconds == pytest.approx(period_ns / 1e9)


def test_bubbles_are_told_by_their_place_and_what_follows(tmp_path):
    write_recording(tmp_path)
    report = make_report(Recording.load(tmp_path))
    longest = report.bubbles[0]
    # The last stage waits for the others' backwards in the collective at the step's end, the first one for the first
    # backward to come back.
    assert {(each.stage, each.place) for each in report.bubbles if each.median_seconds == longest.median_seconds} == {
        (0, "before B0"),
        (3, "in a collective"),
    }
    assert longest.median_seconds == pytest.approx((STAGES - 1) * BACKWARD_NS / 1e9)
    assert longest.low_seconds == longest.high_seconds == longest.median_seconds
    assert longest.steps == STEPS


def test_longer_segments_never_use_more_of_a_bubble_and_too_long_ones_nothing(tmp_path):
    write_recording(tmp_path)
    for stage in make_report(Recording.load(tmp_path)).by_stage:
        assert 0 < stage.longest_segment_seconds < 0.1
        assert stage.fits[0].time_share <= stage.waiting_share
        for fit in stage.fits:
            assert (fit.segments_per_step > 0) == (fit.segment_seconds <= stage.longest_segment_seconds)


def test_memory_for_trials_leaves_what_the_run_will_take_and_headroom(tmp_path):
    write_recording(tmp_path)
    stage = make_report(Recording.load(tmp_path)).by_stage[0]
    assert stage.memory_free_bytes == 16 * GIB
    assert stage.trial_memory_bytes == (16 - (5 - 3) - 2) * GIB


def test_report_is_text_and_picture(tmp_path):
    write_recording(tmp_path)
    recording = Recording.load(tmp_path)
    report = make_report(recording)
    text = to_text(report)
    assert "the hook took 50 us of a step" in text
    assert "1F1B: 4 stages, 4 microbatches, 5 steps" in text
    assert "in theory 42.9%" in text
    save_picture(recording, report, tmp_path / "bubbles.png")
    assert (tmp_path / "bubbles.png").read_bytes().startswith(b"\x89PNG")


def test_run_without_a_pipeline_is_told(tmp_path):
    with pytest.raises(FailedPrecondition, match="no pipeline was seen"):
        Recording.load(tmp_path)


def test_missing_stage_is_named(tmp_path):
    write_recording(tmp_path, missing=(2,))
    with pytest.raises(FailedPrecondition, match="stages 2 of 4 were not recorded"):
        Recording.load(tmp_path)


def test_recorder_keeps_the_steps_after_the_first_ones_and_writes_once(tmp_path):
    place = PipelinePlace(stage=1, stages=2, microbatches=1, schedule="1F1B")
    recorder = StageRecorder(RecorderSettings(tmp_path, steps=2, skip_steps=1), place)
    hook = StageHook([recorder])
    for step in range(4):
        hook.step_begin(step)
        hook.begin(Activity.FORWARD, 0)
        hook.end(Activity.FORWARD, 0)
        hook.step_end(step)
        hook.memory(lambda: StageMemory(1, 2, 3, 4))
    (path,) = tmp_path.glob("stage-*.json")
    content = json.loads(path.read_text())
    assert [each[0] for each in content["steps"]] == [1, 2]
    assert [each[:3] for each in content["spans"]] == [[1, Activity.FORWARD, 0], [2, Activity.FORWARD, 0]]
    assert content["memory"]["smallest_free_bytes"] == 4
    written = path.stat().st_mtime_ns
    recorder.close()
    assert path.stat().st_mtime_ns == written


def test_recorder_of_a_run_that_ends_early_writes_what_there_is(tmp_path):
    recorder = StageRecorder(
        RecorderSettings(tmp_path, steps=9, skip_steps=0),
        PipelinePlace(stage=0, stages=1, microbatches=1, schedule="x"),
    )
    hook = StageHook([recorder])
    hook.step_begin(0)
    hook.step_end(0)
    recorder.close()
    assert len(list(tmp_path.glob("stage-0-0.json"))) == 1
