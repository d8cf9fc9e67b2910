"""The fusion counts near the best one, measured once more against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hydro.tuner.planning.profile import ProfilePoint
from hydro.tuner.planning.rising_counts import Limits
from hydro.tuner.planning.subject import Companion, Subject
from hydro.tuner.planning.turns import WARM_UP_ROUNDS, Patience, seconds_in_turns
from hydro.tuner.training.out_of_memory import is_out_of_memory

CONTENDERS = 0.8
"""Fusion counts with this share of the best throughput are measured once more."""

RUN_OFF_PATIENCE = Patience(seconds=0.7, min_rounds=4)


def run_off(
    fused: Subject, points: Sequence[ProfilePoint], beside: Companion, limits: Limits
) -> Sequence[ProfilePoint]:
    """Measures the best counts once more, all of them in turns, and gives all points with what came out.

    They were measured one after the other, while the processor's clock and its other work changed: more than the
    counts differ by.
    """
    near = contenders(points, limits.budget_seconds)
    if len(near) < 2 or (limits.memory_bytes and sum(each.memory_bytes for each in near) > limits.memory_bytes):
        return points
    try:
        subjects = [fused.twin(point.lanes) for point in near]
        works = [subject.trainer.train_step for subject in (*subjects, beside.subject)]
        *seconds, others = seconds_in_turns(works, fused.gate.clock, RUN_OFF_PATIENCE)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return points
    drift = beside.drift(others)
    again = {
        point.lanes: replace(point, step_seconds=measured * drift)
        for point, measured in zip(near, seconds, strict=True)
    }
    return [again.get(point.lanes, point) for point in points]


def contenders(points: Sequence[ProfilePoint], budget_seconds: float) -> list[ProfilePoint]:
    """Gives the counts near the best throughput, the smallest first, whose rounds together take no longer than that."""
    peak = max((point.rate for point in points), default=0.0)
    near = [point for point in points if point.rate >= CONTENDERS * peak]
    rounds = WARM_UP_ROUNDS + RUN_OFF_PATIENCE.min_rounds
    while rounds * sum(point.step_seconds for point in near) > budget_seconds:
        near.pop()
    return near
