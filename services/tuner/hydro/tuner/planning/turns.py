"""Seconds of programs that take turns, so that what else runs on the machine meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from hydro.tuner.planning.recording_gate import Clock

WARM_UP_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class Patience:
    """How long steps are measured for, within their least and largest number."""

    seconds: float = 0.3
    min_rounds: int = 3
    max_rounds: int = 60


def seconds_in_turns(works: Sequence[Callable[[], None]], clock: Clock, patience: Patience) -> list[float]:
    """Runs each work once a round and gives the low quartile of each one's seconds.

    What else runs on the machine only ever adds time, so the low quartile is nearer to the truth than the mean. It is a
    time that was measured: of fewer than four rounds the shortest.
    """
    for _ in range(WARM_UP_ROUNDS):
        for work in works:
            work()
    rounds: list[list[float]] = []
    begin = time.perf_counter()
    while len(rounds) < patience.max_rounds:
        if len(rounds) >= patience.min_rounds and time.perf_counter() - begin > patience.seconds:
            break
        rounds.append([_seconds(work, clock) for work in works])
    return [sorted(column)[len(column) // 4] for column in zip(*rounds, strict=True)]


def _seconds(work: Callable[[], None], clock: Clock) -> float:
    start = clock()
    work()
    return clock() - start


def step_clock(device: torch.device) -> Clock:
    """Gives the clock that tells what a step takes on a quiet machine.

    With one thread on a CPU that is the process's own time: nothing waits there but for its core. With more threads, or
    a GPU, it is the wall's.
    """
    return time.process_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
