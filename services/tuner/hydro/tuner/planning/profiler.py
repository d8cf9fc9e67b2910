"""Measures a surrogate's bundles at rising fusion counts, against separate surrogates and the target."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from hydro.tuner.fusion.compiled import COMPILED, bucket
from hydro.tuner.planning.memory_line import predict_memory
from hydro.tuner.planning.profile import CompiledPoint, Profile, ProfilePoint
from hydro.tuner.planning.recording_gate import RecordingGate
from hydro.tuner.planning.sizing import BUNDLE_LANES, smallest_near_peak
from hydro.tuner.planning.still_task import StillTask
from hydro.tuner.planning.turns import Patience, seconds_in_turns, step_clock
from hydro.tuner.shrinking.solution import Solution
from hydro.tuner.task import Hyperparameters, TrainingTask
from hydro.tuner.training.build import build_trainer
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.fused_trainer import FusedTrainer
from hydro.tuner.training.lane import LaneFailure, LaneSpec
from hydro.tuner.training.out_of_memory import is_out_of_memory
from hydro.tuner.training.peak_memory import peak_bytes, reset_peak
from hydro.tuner.training.trainer import BundleTrainer

GAIN = 1.05
"""A larger bundle must give this much more throughput than the best so far."""

LARGER_WITHOUT_GAIN = 2
"""So many larger bundles in a row without a gain end the measurement: one alone may have met a busy machine."""

BUDGET_SECONDS = 8.0
"""No larger bundle is begun that would end later than so long after the first."""

EXPECTED_GAIN = 0.2
"""The share of a step's time that compiling may be hoped to save."""

EXPECTED_COMPILE_SECONDS = 30.0
"""What a compilation may be feared to take: it is begun only for bundles that earn so much in all their steps."""

_CPU = torch.device("cpu")


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
class _Subject:
    """A trainer under measurement."""

    trainer: BundleTrainer
    gate: RecordingGate

    @property
    def lanes(self) -> int:
        return len(self.trainer.lanes)

    def validate(self) -> None:
        self.trainer.validate([lane.trial for lane in self.trainer.lanes])


@dataclass(frozen=True, slots=True)
class Profiler:
    """What is measured: one task at one set of hyperparameters, on this process's device with its threads."""

    task: TrainingTask
    hyperparameters: Hyperparameters
    width: float
    solution: Solution | None
    device: torch.device = _CPU
    patience: Patience = Patience()

    def measure(
        self,
        max_lanes: int,
        *,
        fuse: bool,
        budget_seconds: float = BUDGET_SECONDS,
        memory_bytes: int = 0,
        bundle_steps: int = 0,
    ) -> Measured:
        """Measures all of a profile, in a few seconds for a small model.

        Args:
            max_lanes: Fusion counts are measured up to this one.
            fuse: Whether to try fused bundles at all.
            budget_seconds: Of the fused bundles, about; one lane is measured whatever it takes.
            memory_bytes: Fused bundles that would hold more are not measured; 0: no limit.
            bundle_steps: How many steps a bundle takes: where they may pay for it, the compiled form is measured too,
                which takes as long as it compiles. 0: never.

        Raises:
            ProfileFailed: the task raised, or its loss is not finite from the start.
        """
        separate = self._subject(Execution.SEPARATE)
        one = self._point(separate)
        self._grow(separate, 2)
        two = self._point(separate)
        fused, report = (
            self._measure_fused(separate, two, max_lanes, budget_seconds, memory_bytes) if fuse else ((), "not fused")
        )
        target = self._measure_target() if self.width != 1 else one
        lane_memory_bytes = max(0, two.memory_bytes - one.memory_bytes)
        profile = Profile(
            fused=fused,
            separate_step_seconds=two.step_seconds / 2,
            separate_memory_bytes=one.memory_bytes + (BUNDLE_LANES - 1) * lane_memory_bytes,
            separate_segment_seconds=two.segment_seconds,
            lane_memory_bytes=lane_memory_bytes,
            target_step_seconds=target.step_seconds,
            target_memory_bytes=target.memory_bytes,
        )
        compiled = self._measure_compiled(profile, separate, two, bundle_steps) if fused else None
        return Measured(replace(profile, compiled=compiled), report)

    def _measure_compiled(
        self, profile: Profile, separate: _Subject, alone: ProfilePoint, bundle_steps: int
    ) -> CompiledPoint | None:
        """Measures the compiled form at the count that suits the emitted one; None where it could not pay."""
        best = smallest_near_peak(profile, profile.fused)
        if best is None or not compiling_could_pay(best, bundle_steps):
            return None
        subject = self._subject(Execution.COMPILED)
        if not isinstance(subject.trainer, FusedTrainer):
            return None
        self._grow(subject, best.lanes)
        begin = time.perf_counter()
        subject.trainer.train_step()
        compile_seconds = time.perf_counter() - begin
        if subject.trainer.compilation != COMPILED:
            return None
        point = self._point(subject, beside=separate, alone=alone)
        return CompiledPoint(best.lanes, point.step_seconds, compile_seconds, bundle_steps)

    def _measure_fused(
        self, separate: _Subject, alone: ProfilePoint, max_lanes: int, budget_seconds: float, memory_bytes: int
    ) -> tuple[tuple[ProfilePoint, ...], str]:
        begin = time.monotonic()
        fused = self._subject(Execution.FUSED)
        if not isinstance(fused.trainer, FusedTrainer):
            return (), fused.trainer.report
        points: list[ProfilePoint] = []
        for lanes in _rising(points, max_lanes, begin + budget_seconds, memory_bytes):
            try:
                self._grow(fused, lanes)
                point = self._point(fused, beside=separate, alone=alone)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                break
            if fused.trainer.misses:
                # What was timed are the halves that it went on with.
                break
            points.append(point)
        return tuple(points), fused.trainer.report

    def _measure_target(self) -> ProfilePoint:
        target = Profiler(self.task, self.hyperparameters, 1, None, self.device, self.patience)
        return target._point(target._subject(Execution.SEPARATE))

    def _subject(self, execution: Execution) -> _Subject:
        gate = RecordingGate(step_clock(self.device))
        trainer = build_trainer(
            StillTask(self.task, self.device),
            width=self.width,
            solution=self.solution,
            execution=execution,
            lanes=[LaneSpec("0", self.hyperparameters, seed=0)],
            data_seed=0,
            gate=gate,
            device=self.device,
        )
        _raise_failures(trainer)
        return _Subject(trainer, gate)

    def _grow(self, subject: _Subject, lanes: int) -> None:
        """Inserts copies of the first lane: at its step, so that all of them share each batch."""
        first = subject.trainer.lanes[0]
        state = subject.trainer.checkpoint(first.trial)
        new = range(subject.lanes, lanes)
        subject.trainer.insert(
            [LaneSpec(str(i), self.hyperparameters, seed=i, state=state, start_step=first.step) for i in new]
        )
        _raise_failures(subject.trainer)

    def _point(
        self, subject: _Subject, beside: _Subject | None = None, alone: ProfilePoint | None = None
    ) -> ProfilePoint:
        """Measures a bundle; its seconds in proportion to those of another one that takes turns with it."""
        reset_peak(self.device)
        subject.trainer.train_step()
        subject.validate()
        subject.gate.forget()
        works = [subject.trainer.train_step, *([beside.trainer.train_step] if beside else [])]
        seconds = seconds_in_turns(works, subject.gate.clock, self.patience)
        subject.validate()
        _raise_failures(subject.trainer)
        # The machine may be slower now than it was when the other one ran by itself.
        drift = alone.step_seconds / seconds[1] if alone else 1.0
        return ProfilePoint(
            subject.lanes, seconds[0] * drift, peak_bytes(self.device), subject.gate.longest_segment_seconds()
        )


def compiling_could_pay(point: ProfilePoint, bundle_steps: int) -> bool:
    """Tells whether so many steps of a bundle might earn what their compilation takes; not where it would run padded.

    Padded, it would hold memory for more lanes than were measured.
    """
    is_full = bucket(point.lanes) == point.lanes
    return is_full and bundle_steps * point.step_seconds * EXPECTED_GAIN > EXPECTED_COMPILE_SECONDS


def _rising(points: list[ProfilePoint], max_lanes: int, deadline: float, memory_bytes: int) -> Iterator[int]:
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
        if lanes == max_lanes or without_gain == LARGER_WITHOUT_GAIN or is_late:
            return
        lanes = min(2 * lanes, max_lanes)
        if memory_bytes and _upper_bytes(points, lanes) > memory_bytes:
            return


def _upper_bytes(points: list[ProfilePoint], lanes: int) -> int:
    return predict_memory([(point.lanes, point.memory_bytes) for point in points], lanes).upper_bytes


def _raise_failures(trainer: BundleTrainer) -> None:
    for failure in trainer.take_failures():
        raise ProfileFailed(failure)
