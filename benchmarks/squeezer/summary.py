"""From blocks to figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Final

from benchmarks.rounds import Interval, interval
from benchmarks.squeezer.arms import Block

FIGURES: Final = (
    "slowdown_percent_high",
    "colocation_slowdown_percent",
    "bubble_used_share",
    "trial_percent_of_exclusive",
    "end_to_quiet_p99_ms",
    "hook_share",
)
Rounds = Sequence[Mapping[str, Sequence[Block]]]
"""The blocks of each round, by arm."""
Latencies = Sequence[tuple[float, float]]
"""Seconds from a bubble's begin to the first operation, and from its end until the trial is quiet."""


def slowdown_percent(rounds: Rounds, arm: str) -> Interval:
    """Gives how much longer an arm's steps take than those of the run alone, round by round; 0 is no slowdown."""
    return interval(
        [100 * (_step_seconds(each[arm]) / _step_seconds(each["none"]) - 1) for each in rounds if each.get(arm)]
    )


def blocks_of(rounds: Rounds, arm: str) -> list[Block]:
    """Gives all blocks of an arm."""
    return [block for each in rounds for block in each.get(arm, ())]


def arm_row(rounds: Rounds, arm: str) -> dict[str, Any]:
    """Gives what an arm did, with its intervals."""
    blocks = blocks_of(rounds, arm)
    seconds = sorted(step for block in blocks for step in block.seconds)
    slowdown = slowdown_percent(rounds, arm)
    bubble_seconds = sum(block.bubble_seconds for block in blocks)
    return {
        "what": "arm",
        "arm": arm,
        "blocks": len(blocks),
        "steps": len(seconds),
        "step_ms_median": 1e3 * median(seconds),
        "step_ms_p99": 1e3 * high_quantile(seconds, 0.99),
        "slowdown_percent": slowdown.median,
        "slowdown_percent_interval": [slowdown.low, slowdown.high],
        "slowdown_percent_mean": mean_slowdown_percent(rounds, arm),
        "bubble_share": bubble_seconds / sum(seconds),
        "bubble_used_share": None if arm == "colocation" else used_share(blocks),
        "late_seconds": sum(block.late_seconds for block in blocks),
        "trial_percent_of_exclusive": trial_percent(rounds, arm),
        "hook_share": sum(block.hook_seconds for block in blocks) / sum(seconds),
        "block_seconds": [block.total_seconds for block in blocks],
    }


def latency_row(latencies: Latencies) -> dict[str, Any]:
    """Gives how fast the gate opens and closes for a trial alone on its core."""
    begins, ends = (sorted(1e3 * each[index] for each in latencies) for index in (0, 1))
    return {
        "what": "gate",
        "bubbles": len(latencies),
        "begin_to_first_op_p50_ms": median(begins),
        "begin_to_first_op_p99_ms": high_quantile(begins, 0.99),
        "end_to_quiet_p50_ms": median(ends),
        "end_to_quiet_p99_ms": high_quantile(ends, 0.99),
    }


def summarize(rounds: Rounds, latencies: Latencies) -> dict[str, float | None]:
    """Gives the figures that the contract names. Slowdown, used share and throughput come from the same arm."""
    predictive = blocks_of(rounds, "predictive")
    return dict(
        zip(
            FIGURES,
            (
                slowdown_percent(rounds, "predictive").high,
                slowdown_percent(rounds, "colocation").median,
                used_share(predictive),
                trial_percent(rounds, "predictive"),
                latency_row(latencies)["end_to_quiet_p99_ms"],
                sum(each.hook_seconds for each in predictive) / sum(each.total_seconds for each in predictive),
            ),
            strict=True,
        )
    )


def used_share(blocks: Sequence[Block]) -> float:
    """Gives the share of the bubbles' time in which segments ran; what ran past their ends does not count."""
    bubble_seconds = sum(block.bubble_seconds for block in blocks)
    return sum(block.used_seconds - block.late_seconds for block in blocks) / bubble_seconds


def trial_percent(rounds: Rounds, arm: str) -> float:
    """Gives the bundle's training steps a second, in percent of those that it makes alone on the core."""
    exclusive = median(block.trial_steps_per_second for block in blocks_of(rounds, "exclusive"))
    blocks = blocks_of(rounds, arm)
    return 100 * sum(each.trial_steps for each in blocks) / sum(each.total_seconds for each in blocks) / exclusive


def mean_slowdown_percent(rounds: Rounds, arm: str) -> float:
    """Gives the slowdown by the sums of all steps' seconds: rare slow steps count in full, the machine's own too."""
    shared = [each for each in rounds if each.get(arm)]
    own = _step_seconds([block for each in shared for block in each[arm]])
    return 100 * (own / _step_seconds([block for each in shared for block in each["none"]]) - 1)


def high_quantile(ordered: Sequence[float], share: float) -> float:
    """Gives the smallest value that so large a share does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _step_seconds(blocks: Sequence[Block]) -> float:
    return sum(block.total_seconds for block in blocks) / sum(len(block.seconds) for block in blocks)
