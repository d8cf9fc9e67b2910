"""Interleaved rounds: variants take turns, so that what else the machine does meets all of them alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Interval:
    """A median with the interval that holds the true one in 95 of 100 cases."""

    median: float
    low: float
    high: float


def interleave(
    variants: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    repeats: Mapping[str, int] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Runs each variant once in a round, in turn, and gives the seconds of each run, by variant.

    Every other round goes through the variants backwards: none always follows the same one.

    Args:
        variants: What to run, by name; warmed up already.
        rounds: How many times each is timed.
        repeats: Calls of a variant that are timed together, where one is too short for the clock; the seconds are of
            one call.
        clock: Gives seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    order = list(variants.items())
    for index in range(rounds):
        for name, run in order if index % 2 == 0 else reversed(order):
            count = (repeats or {}).get(name, 1)
            start = clock()
            for _ in range(count):
                run()
            seconds[name].append((clock() - start) / count)
    return seconds


def interval(values: Sequence[float]) -> Interval:
    """Gives the median and its 95 % interval from the order of the values alone: no shape is assumed.

    Fewer than six values cannot tell it; their least and largest stand for it.
    """
    ordered = sorted(values)
    count = len(ordered)
    low = max(0, math.floor(count / 2 - 0.98 * math.sqrt(count)) - 1)
    return Interval(median(ordered), ordered[low], ordered[count - 1 - low])


def ratio(over: Sequence[float], under: Sequence[float]) -> Interval:
    """Gives the ratio of two variants' times, round by round: a slow spell of the machine cancels."""
    return interval([a / b for a, b in zip(over, under, strict=True)])
