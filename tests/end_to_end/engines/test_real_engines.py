"""Engines of DeepSpeed and torch, four processes over gloo, a squeezer for each stage and trials in its bubbles.

Everything is asserted on one run of each engine, by the stamps of all who took part.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from statistics import median

import pytest

from hydro.squeezer.profiling.recording import Recording
from hydro.squeezer.profiling.report import make_report

from .engine_runs import ENGINES, MICROBATCHES, MIN_STEPS, STAGES, TRIALS, EngineRun, RealEngines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def engine_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, EngineRun]:
    return RealEngines(tmp_path_factory.mktemp("engines")).measure()


@pytest.fixture(params=ENGINES)
def engine_run(request: pytest.FixtureRequest, engine_runs: dict[str, EngineRun]) -> EngineRun:
    return engine_runs[request.param]


def test_fused_trials_train_in_the_bubbles(engine_run: EngineRun) -> None:
    study = engine_run.study
    assert sum(study.trials.values()) == TRIALS
    assert study.trials.keys() <= {"SUCCEEDED", "PRUNED"}
    assert study.max_fusion_count > 1
    assert study.slot_trial_steps >= TRIALS * MIN_STEPS
    assert len(study.slots) == STAGES
    assert len(engine_run.segments) > 1
    assert all(len(segments) > MIN_STEPS for segments in engine_run.segments.values())


def test_losses_are_those_of_a_run_without_hook_and_squeezer(engine_run: EngineRun) -> None:
    squeezed = [each["loss"] for each in engine_run.steps[-1]]
    alone = [each["loss"] for each in engine_run.alone]
    compared = min(len(squeezed), len(alone))
    assert squeezed[:compared] == alone[:compared]
    assert len(set(alone)) > len(alone) // 2
    # Trials work only once a slot was observed, claimed and prepared: the steps compared are also theirs.
    assert min(starts(engine_run)) < engine_run.steps[-1][compared - 1]["begin_ns"]


def starts(run: EngineRun) -> list[int]:
    return [started_ns for segments in run.segments.values() for _, started_ns, _ in segments]


def test_bubble_shares_agree_with_the_scripts_own_count(engine_run: EngineRun) -> None:
    whole = make_report(engine_run.recording)
    assert (whole.stages, whole.microbatches, whole.steps) == (STAGES, MICROBATCHES, len(engine_run.steps[0]))
    # Step by step: an engine's first steps, and a machine that is busy elsewhere, have their own share in a mean.
    reports = {step: make_report(only(engine_run.recording, step)) for step in engine_run.recording.steps}
    for stage in range(STAGES):
        shares = {step: report.by_stage[stage].bubble_share for step, report in reports.items()}
        differences = [share - counted_share(engine_run, step, stage) for step, share in shares.items()]
        assert abs(median(differences)) < 0.05
        assert median(shares.values()) > whole.theory_bubble_share - 0.05
        assert whole.by_stage[stage].events_dropped == 0


def only(recording: Recording, step: int) -> Recording:
    return replace(recording, stages=tuple(replace(each, steps={step: each.steps[step]}) for each in recording.stages))


def counted_share(run: EngineRun, step: int, stage: int) -> float:
    """Of the window from the first to the last computing of any stage, by the stamps that the script took itself."""
    by_stage = [each[step]["busy"] for each in run.steps]
    window_ns = max(end for each in by_stage for _, end in each) - min(begin for each in by_stage for begin, _ in each)
    return 1 - sum(end - begin for begin, end in by_stage[stage]) / window_ns


def test_no_segment_starts_outside_an_open_gate(engine_run: EngineRun) -> None:
    for stage, segments in engine_run.segments.items():
        waits = waits_of(engine_run, stage)
        for wait, started_ns, deadline_ns in segments:
            opened_ns, over_ns = waits[wait]
            assert opened_ns <= started_ns <= deadline_ns
            assert started_ns <= over_ns


def waits_of(run: EngineRun, stage: int) -> dict[int, tuple[int, int]]:
    """By the number of each wait: when the hook saw it begin, and the first thing it saw after it.

    The hook takes its stamp before it tells that the wait is over, so the next stamp is the first that is surely later.
    """
    recorded = run.recording.stages[stage]
    stamps = sorted(
        [each.begin_ns for each in recorded.spans]
        + [each.end_ns for each in recorded.spans]
        + [stamp_ns for step in recorded.steps.values() for stamp_ns in step]
    )
    bubbles = sorted((each.begin_ns, each.end_ns) for each in recorded.spans if each.is_bubble)
    return {
        2 * number + 1: (begin_ns, stamps[bisect_right(stamps, end_ns)])
        for number, (begin_ns, end_ns) in enumerate(bubbles)
    }


def test_no_segment_starts_while_the_stage_computes(engine_run: EngineRun) -> None:
    for stage, segments in engine_run.segments.items():
        busy = sorted((begin_ns, end_ns) for step in engine_run.steps[stage] for begin_ns, end_ns in step["busy"])
        for _, started_ns, _ in segments:
            before = bisect_right(busy, (started_ns, 2**63)) - 1
            assert before < 0 or busy[before][1] <= started_ns
