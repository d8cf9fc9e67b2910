"""The figures of the squeezer's benchmark, from blocks that were made up."""

import pytest

from benchmarks.squeezer.arms import Block
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
