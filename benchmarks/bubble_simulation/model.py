"""The model: steps of a schedule on many replicas at once, alone and with trials in the bubbles.

The same random durations go through both, so what differs is what the trials did. A task begins when its inputs are
there and its stage is free: a stage that trials have held up holds up whoever waits for it, and the replicas meet at
each step's end, so the slowest of all decides.

Legend: R replicas, T GPUs of a stage (tensor parallel), S steps.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.bubble_simulation.schedules import Kind, Schedule, Task
from hydro.squeezer.bubble import ENOUGH_OBSERVATIONS

Array = NDArray[np.float64]
_WINDOW: Final = 20
"""Of so many observations the 5 % quantile is the shortest."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured on real runs; see `calibration.json`.

    Units: seconds; variations are standard deviations over means.
    """

    forward_variation: float
    backward_variation: float
    backward_per_forward: float
    begin_seconds: float
    """From a bubble's begin to the first operation of a trial."""
    segment_seconds: float
    """Median."""
    segment_p99_seconds: float
    guard_seconds: float
    return_seconds: float
    """What the stage's next task loses when a trial worked in the bubble before it: caches, mostly."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a schedule runs."""

    replicas: int = 1
    gpus_per_stage: int = 1
    forward_seconds: float = 0.025
    """Of one microbatch on one stage, all its chunks."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run was like. Shares are of all GPUs' time."""

    step_seconds: float
    """Without trials."""
    bubble_share: float
    recovered_share: float
    slowdown: float


class Simulation:
    """One schedule on one cluster."""

    def __init__(self, schedule: Schedule, cluster: Cluster, calibration: Calibration, seed: int = 0) -> None:
        self._schedule = schedule
        self._cluster = cluster
        self._calibration = calibration
        self._random = np.random.default_rng(seed)
        self._sequence = topological_order(schedule)
        self._history: dict[Task | int, list[tuple[Array, Array]]] = defaultdict(list)
        self._observes = True

    def run(self, warm_up: int = 20, steps: int = 10) -> Outcome:
        """Observes for some steps, then fills the bubbles of as many steps as asked for."""
        alone, squeezed, waited, used = [], [], 0.0, 0.0
        for step in range(warm_up + steps):
            durations = self._durations()
            self._observes = step < warm_up
            base_seconds, wait_seconds, _ = self._step(durations, fills=False)
            if step < warm_up:
                continue
            filled_seconds, _, used_seconds = self._step(durations, fills=True)
            alone.append(base_seconds)
            squeezed.append(filled_seconds)
            waited, used = waited + wait_seconds, used + used_seconds
        lanes = self._schedule.stages * self._cluster.replicas
        total = sum(alone) * lanes
        return Outcome(
            sum(alone) / steps,
            waited / total,
            used / (sum(squeezed) * lanes * self._cluster.gpus_per_stage),
            sum(squeezed) / sum(alone) - 1,
        )

    def _durations(self) -> dict[Task, Array]:
        forward_seconds = self._cluster.forward_seconds / self._schedule.chunks
        backward_seconds = forward_seconds * self._calibration.backward_per_forward
        means = {
            Kind.FORWARD: (forward_seconds, self._calibration.forward_variation),
            Kind.BACKWARD: (backward_seconds, self._calibration.backward_variation),
            Kind.INPUT_GRADIENT: (backward_seconds / 2, self._calibration.backward_variation),
            Kind.WEIGHT_GRADIENT: (backward_seconds / 2, self._calibration.backward_variation),
        }
        return {task: self._varied(*means[task.kind], self._cluster.replicas) for _, task in self._sequence}

    def _varied(self, mean: float, variation: float, count: int) -> Array:
        """Log-normal: no task takes negative time, and a slow one is slower than a fast one is fast."""
        spread = math.sqrt(math.log1p(variation**2))
        return mean * self._random.lognormal(-(spread**2) / 2, spread, count)

    def _step(self, durations: dict[Task, Array], *, fills: bool) -> tuple[float, float, float]:
        """Gives the step's seconds, and the seconds of bubble and of trials, summed over stages and replicas."""
        replicas = self._cluster.replicas
        free = [np.zeros(replicas) for _ in range(self._schedule.stages)]
        # When the wait before ended, or the step began.
        anchor = [np.zeros(replicas) for _ in range(self._schedule.stages)]
        ends: dict[Task, Array] = {}
        waited, used = 0.0, 0.0
        for stage, task in self._sequence:
            ready = free[stage]
            for need in self._schedule.needs(task):
                ready = np.maximum(ready, ends[need])
            begin, work = self._bubble(task, anchor[stage], free[stage], ready, fills=fills)
            waited, used = waited + float((ready - free[stage]).sum()), used + work
            anchor[stage] = ready
            ends[task] = free[stage] = begin + durations[task]
        own = np.stack(free)
        meeting = np.full(replicas, own.max())
        for stage in range(self._schedule.stages):
            end, work = self._bubble(-1 - stage, anchor[stage], own[stage], meeting, fills=fills)
            waited, used = waited + float((meeting - own[stage]).sum()), used + work
            own[stage] = end
        return float(own.max()), waited, used

    def _bubble(
        self, key: Task | int, anchor_R: Array, free_R: Array, ready_R: Array, *, fills: bool
    ) -> tuple[Array, float]:
        """Gives when the stage goes on after a wait, and the GPU seconds that trials worked in it."""
        wait_R = ready_R - free_R
        history = self._history[key]
        seen = wait_R, ready_R - anchor_R
        if not fills:
            if self._observes:
                history.append(seen)
            return ready_R, 0.0
        if len(history) < ENOUGH_OBSERVATIONS:
            return ready_R, 0.0
        forecast_R = _forecast(history, free_R - anchor_R)
        history.append(seen)
        del history[:-_WINDOW]
        grant_R = forecast_R - self._calibration.guard_seconds
        if float(grant_R.max()) <= self._calibration.segment_p99_seconds:
            return ready_R, 0.0
        return self._fill(free_R, ready_R, wait_R, grant_R)

    def _fill(self, free_R: Array, ready_R: Array, wait_R: Array, grant_R: Array) -> tuple[Array, float]:
        calibration = self._calibration
        shape = (len(wait_R), self._cluster.gpus_per_stage)
        # Segments start while their 99th percentile fits; the last of them ends after its own, random, time.
        room_R = grant_R - calibration.begin_seconds - calibration.segment_p99_seconds
        latest_R = np.minimum(grant_R - calibration.segment_p99_seconds, wait_R)
        worked_R = room_R > 0
        spread = math.log(calibration.segment_p99_seconds / calibration.segment_seconds) / 2.326
        last_RT = calibration.segment_seconds * self._random.lognormal(0.0, spread, shape)
        offset_RT = self._random.random(shape) * np.minimum(last_RT, np.maximum(latest_R, 0.0)[:, None])
        end_RT = np.where(worked_R[:, None], np.maximum(latest_R, 0.0)[:, None] - offset_RT + last_RT, 0.0)
        late_R = np.maximum(end_RT.max(axis=1) - wait_R, 0.0)
        begin_R = ready_R + np.where(worked_R, late_R + calibration.return_seconds, 0.0)
        used_RT = np.clip(np.minimum(end_RT, wait_R[:, None]) - calibration.begin_seconds, 0.0, None)
        return begin_R, float(np.where(worked_R[:, None], used_RT, 0.0).sum())


def _forecast(history: Sequence[tuple[Array, Array]], since_anchor_R: Array) -> Array:
    """The low quantile of the controller, of so few observations the shortest: of the waits or of their ends' distances
    from the anchor, whichever vary less."""
    waits, intervals = (np.stack(each) for each in zip(*history, strict=True))
    shortest_wait_R, shortest_interval_R = waits.min(axis=0), intervals.min(axis=0)
    keeps_time_R = np.median(intervals, axis=0) - shortest_interval_R < np.median(waits, axis=0) - shortest_wait_R
    forecast_R: Array = np.where(keeps_time_R, shortest_interval_R - since_anchor_R, shortest_wait_R)
    return forecast_R


def topological_order(schedule: Schedule) -> Sequence[tuple[int, Task]]:
    """Gives all tasks with their stages so that each comes after what it needs and after its stage's earlier ones.

    Raises:
        ValueError: the orders wait for each other in a circle.
    """
    at, done, sequence = [0] * schedule.stages, set[Task](), list[tuple[int, Task]]()
    total = sum(map(len, schedule.orders))
    while len(sequence) < total:
        before = len(sequence)
        for stage, order in enumerate(schedule.orders):
            while at[stage] < len(order) and done.issuperset(schedule.needs(order[at[stage]])):
                task = order[at[stage]]
                done.add(task)
                sequence.append((stage, task))
                at[stage] += 1
        if len(sequence) == before:
            raise ValueError(f"schedule {schedule.name!r}: its stages wait for each other in a circle")
    return sequence
