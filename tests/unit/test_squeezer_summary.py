"""The figures of the squeezer's benchmark, from blocks that were made up."""

import pytest

from benchmarks.squeezer.arms import Block
from benchmarks.squeezer.gpu import gpu_arm_row, gpu_gate_row
from benchmarks.squeezer.summary import latency_row, mean_slowdown_percent, slowdown_percent, summarize, used_share

ROUNDS = [
    {
        "none": [Block("none", (1.0 * pace, 1.0 * pace), bubble_seconds=0.8 * pace)] * 2,
        "predictive": [
            Block(
                "predictive",
                (1.01 * pace, 1.01 * pace),
                bubble_seconds=0.8 * pace,
                hook_seconds=0.000202 * pace,
                used_seconds=0.5 * pace,
                late_seconds=0.1 * pace,
                trial_steps=round(202 * pace),
            )
        ]
        * 2,
        "colocation": [Block("colocation", (1.5 * pace, 1.5 * pace))],
        "exclusive": [Block("exclusive", (2.0,), trial_steps=1000)],
    }
    for pace in (1.0, 2.0, 3.0)
]


def test_a_slow_spell_of_the_machine_cancels_within_its_round():
    assert slowdown_percent(ROUNDS, "predictive").median == pytest.approx(1.0)
    assert slowdown_percent(ROUNDS, "predictive").high == pytest.approx(1.0)
    assert mean_slowdown_percent(ROUNDS, "colocation") == pytest.approx(50.0)


def test_what_ran_past_a_bubbles_end_is_not_used_time():
    assert used_share(ROUNDS[0]["predictive"]) == pytest.approx(0.5)


def test_the_summary_takes_slowdown_share_and_throughput_from_the_predictive_arm():
    summary = summarize(ROUNDS, [(0.001, 0.0)] * 99 + [(0.002, 0.0007)] * 2)
    assert summary == pytest.approx(
        {
            "slowdown_percent_high": 1.0,
            "colocation_slowdown_percent": 50.0,
            "bubble_used_share": 0.5,
            "trial_percent_of_exclusive": 20.0,
            "end_to_quiet_p99_ms": 0.7,
            "hook_share": 0.0001,
        }
    )


def test_latencies_are_told_by_their_middle_and_their_tail():
    row = latency_row([(each / 1e3, 0.0) for each in range(1, 101)])
    assert row["begin_to_first_op_p50_ms"] == pytest.approx(50.5)
    assert row["begin_to_first_op_p99_ms"] == pytest.approx(99)


def gpu_rounds(*, alone, squeezed):
    none = Block("none", (1.0, 1.0), bubble_seconds=0.8, sm_activity=alone)
    predictive = Block("predictive", (1.1, 1.1), bubble_seconds=0.8, used_seconds=0.5, sm_activity=squeezed)
    return [{"none": [none] * 2, "predictive": [predictive], "exclusive": [Block("exclusive", (2.0,), trial_steps=9)]}]


def test_the_activity_that_trials_add_is_that_of_the_bubbles():
    row = gpu_arm_row(gpu_rounds(alone=0.3, squeezed=0.5), "predictive", mps=True)
    assert (row["what"], row["mps"], row["bubble_used_share"]) == ("gpu arm", True, pytest.approx(0.625))
    assert row["sm_activity"] == pytest.approx(0.5)
    # Busy for 0.55 s of a step instead of 0.3 s, with 0.4 s of bubbles.
    assert row["sm_activity_added_in_bubbles"] == pytest.approx(0.25 / 0.4)


def test_a_gpu_that_tells_no_activity_leaves_it_out():
    row = gpu_arm_row(gpu_rounds(alone=0.3, squeezed=None), "predictive", mps=False)
    assert row["sm_activity"] is row["sm_activity_added_in_bubbles"] is None


def test_on_a_gpu_the_gate_is_quiet_when_the_trial_has_acknowledged():
    row = gpu_gate_row([(0.001, each / 1e3) for each in range(1, 101)], mps=False)
    assert (row["what"], row["ack_p50_ms"], row["ack_p99_ms"]) == ("gpu gate", pytest.approx(50.5), pytest.approx(99))
    assert "end_to_quiet_p50_ms" not in row
