"""A fused bundle at rising fusion counts, as long as a larger one gains something."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from hydro.tuner.planning.memory_line import predict_memory
from hydro.tuner.planning.profile import ProfilePoint
from hydro.tuner.planning.subject import Companion, Subject
from hydro.tuner.planning.turns import Patience
from hydro.tuner.training.out_of_memory import is_out_of_memory

GAIN = 1.05
"""A larger bundle must give this much more throughput than the best so far."""

LARGER_WITHOUT_GAIN = 2
"""So many larger bundles in a row without a gain end the measurement: one alone may have met a busy machine."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far fused bundles are measured."""

    max_lanes: int
    budget_seconds: float
    """For all of them, about; one lane is measured whatever it takes."""
    memory_bytes: int
    """Bundles that would hold more are not measured; 0: no limit."""


def measure_rising(
    fused: Subject, beside: Companion, limits: Limits, deadline: float, patience: Patience
) -> list[ProfilePoint]:
    """Measures the bundle as it grows, up to the count for which there is no memory.

    Args:
        fused: Has one lane, and grows.
        beside: Takes turns with it.
        limits: Of the lanes and their memory.
        deadline: By the monotonic clock; no larger bundle is begun that would end later.
        patience: Of each count.
    """
    points: list[ProfilePoint] = []
    for lanes in _rising(points, limits, deadline):
        try:
            fused.grow(lanes)
            point = fused.point(patience, beside)
            point = replace(point, segment_seconds=fused.segment_seconds())
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            break
        if fused.trainer.misses:
            # What was timed are the halves that it went on with.
            break
        points.append(point)
    return points


def _rising(points: list[ProfilePoint], limits: Limits, deadline: float) -> Iterator[int]:
    """Gives the counts to measure, while `points` takes in what came out: powers of two, and the largest one asked."""
    lanes, without_gain, best_rate = 1, 0, 0.0
    while True:
        begin = time.monotonic()
        yield lanes
        without_gain = without_gain + 1 if points[-1].rate < GAIN * best_rate else 0
        best_rate = max(best_rate, points[-1].rate)
        now = time.monotonic()
        # The next one takes about as long per lane, plus what the program of the first one took.
        is_late = now + 2 * (now - begin if len(points) > 1 else points[-1].step_seconds) > deadline
        if lanes == limits.max_lanes or without_gain == LARGER_WITHOUT_GAIN or is_late:
            return
        lanes = min(2 * lanes, limits.max_lanes)
        if limits.memory_bytes and _upper_bytes(points, lanes) > limits.memory_bytes:
            return


def _upper_bytes(points: list[ProfilePoint], lanes: int) -> int:
    return predict_memory([(point.lanes, point.memory_bytes) for point in points], lanes).upper_bytes
