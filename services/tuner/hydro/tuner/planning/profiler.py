"""Measures a surrogate's bundles at rising fusion counts, against separate surrogates and the target."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import quantiles

import torch

from hydro.tuner.planning.peak_memory import peak_bytes, reset_peak
from hydro.tuner.planning.profile import Profile, ProfilePoint
from hydro.tuner.planning.recording_gate import Clock, RecordingGate
from hydro.tuner.planning.sizing import BUNDLE_LANES
from hydro.tuner.planning.still_task import StillTask
from hydro.tuner.shrinking.solution import Solution
from hydro.tuner.task import Hyperparameters, TrainingTask
from hydro.tuner.training.build import build_trainer
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.fused_trainer import FusedTrainer
from hydro.tuner.training.lane import LaneFailure, LaneSpec
from hydro.tuner.training.trainer import BundleTrainer

GAIN = 1.05
"""A larger bundle must give this much more throughput than the best so far."""

PATIENCE = 2
"""So many larger bundles in a row without a gain end the measurement: one alone may have met a busy machine."""

BUDGET_SECONDS = 10.0
"""No larger bundle is measured after so long."""

WARM_UP_STEPS = 2
MIN_STEPS = 5
MAX_STEPS = 40
POINT_SECONDS = 0.4
"""Steps are measured for so long, within their least and largest number."""


class ProfileFailed(RuntimeError):
    """A lane ended while its bundle was measured: `failure` says how."""

    def __init__(self, failure: LaneFailure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Measured:
    """A profile, and how the largest bundle ran."""

    profile: Profile
    report: str


@dataclass(frozen=True, slots=True)
class Profiler:
    """What is measured: one task at one set of hyperparameters."""

    task: TrainingTask
    hyperparameters: Hyperparameters
    width: float
    solution: Solution | None

    def measure(self, max_lanes: int, *, fuse: bool) -> Measured:
        """Measures all of a profile, in a few seconds for a small model.

        Args:
            max_lanes: Fusion counts are measured up to this one.
            fuse: Whether to try fused bundles at all.

        Raises:
            ProfileFailed: the task raised, or its loss is not finite from the start.
        """
        fused, report = self._measure_fused(max_lanes) if fuse else ((), "not fused")
        separate, lane_memory_bytes = self._measure_separate()
        target = self._measure_target() if self.width != 1 else separate
        profile = Profile(
            fused=fused,
            separate_step_seconds=separate.step_seconds,
            separate_memory_bytes=separate.memory_bytes + (BUNDLE_LANES - 1) * lane_memory_bytes,
            lane_memory_bytes=lane_memory_bytes,
            separate_segment_seconds=separate.segment_seconds,
            target_step_seconds=target.step_seconds,
            target_memory_bytes=target.memory_bytes,
        )
        return Measured(profile, report)

    def _measure_fused(self, max_lanes: int) -> tuple[tuple[ProfilePoint, ...], str]:
        gate = RecordingGate(_clock())
        trainer = self._build(Execution.FUSED, gate)
        if not isinstance(trainer, FusedTrainer):
            return (), trainer.report
        return tuple(_rising_points(trainer, gate, self.hyperparameters, max_lanes)), trainer.report

    def _measure_separate(self) -> tuple[ProfilePoint, int]:
        gate = RecordingGate(_clock())
        trainer = self._build(Execution.SEPARATE, gate)
        one = _measure_point(trainer, gate)
        _grow(trainer, self.hyperparameters, 2)
        two = _measure_point(trainer, gate)
        return one, max(0, two.memory_bytes - one.memory_bytes)

    def _measure_target(self) -> ProfilePoint:
        gate = RecordingGate(_clock())
        target = Profiler(self.task, self.hyperparameters, width=1, solution=None)
        return _measure_point(target._build(Execution.SEPARATE, gate), gate)

    def _build(self, execution: Execution, gate: RecordingGate) -> BundleTrainer:
        trainer = build_trainer(
            StillTask(self.task, torch.device("cpu")),
            width=self.width,
            solution=self.solution,
            execution=execution,
            lanes=[LaneSpec("0", self.hyperparameters, seed=0)],
            data_seed=0,
            gate=gate,
        )
        _raise_failures(trainer)
        return trainer


def _rising_points(
    trainer: BundleTrainer, gate: RecordingGate, hyperparameters: Hyperparameters, max_lanes: int
) -> Iterator[ProfilePoint]:
    begin = time.monotonic()
    lanes, best_rate, without_gain = 1, 0.0, 0
    while lanes <= max_lanes and without_gain < PATIENCE and time.monotonic() - begin < BUDGET_SECONDS:
        _grow(trainer, hyperparameters, lanes)
        point = _measure_point(trainer, gate)
        yield point
        without_gain = without_gain + 1 if point.rate < GAIN * best_rate else 0
        lanes, best_rate = 2 * lanes, max(best_rate, point.rate)


def _grow(trainer: BundleTrainer, hyperparameters: Hyperparameters, lanes: int) -> None:
    """Inserts copies of the first lane: at its step, so that all of them share each batch."""
    first = trainer.lanes[0]
    state = trainer.checkpoint(first.trial)
    new = range(len(trainer.lanes), lanes)
    trainer.insert([LaneSpec(str(i), hyperparameters, seed=i, state=state, start_step=first.step) for i in new])
    _raise_failures(trainer)


def _measure_point(trainer: BundleTrainer, gate: RecordingGate) -> ProfilePoint:
    trials = [lane.trial for lane in trainer.lanes]
    reset_peak()
    for _ in range(WARM_UP_STEPS):
        trainer.train_step()
    trainer.validate(trials)
    gate.forget()
    # What else runs on the machine only ever adds time, so the low quartile is nearer to the truth than the mean.
    seconds, *_ = quantiles(_step_seconds(trainer, gate.clock), n=4)
    trainer.validate(trials)
    _raise_failures(trainer)
    return ProfilePoint(len(trainer.lanes), seconds, peak_bytes(), gate.longest_segment_seconds())


def _step_seconds(trainer: BundleTrainer, seconds: Clock) -> Iterator[float]:
    begin = time.perf_counter()
    for step in range(MAX_STEPS):
        if step >= MIN_STEPS and time.perf_counter() - begin > POINT_SECONDS:
            return
        start = seconds()
        trainer.train_step()
        yield seconds() - start


def _clock() -> Clock:
    """Gives this process's own time where it has one thread: the wall's on a quiet machine, whatever else runs here."""
    return time.process_time if torch.get_num_threads() == 1 else time.perf_counter


def _raise_failures(trainer: BundleTrainer) -> None:
    for failure in trainer.take_failures():
        raise ProfileFailed(failure)
