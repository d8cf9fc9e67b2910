"""Measures a surrogate's bundles at rising fusion counts, against separate surrogates and the target."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from hydro.tuner.fusion.compiled import COMPILED
from hydro.tuner.planning.memory_line import predict_memory
from hydro.tuner.planning.profile import CompiledPoint, Profile, ProfilePoint
from hydro.tuner.planning.recording_gate import Clock, RecordingGate
from hydro.tuner.planning.sizing import BUNDLE_LANES, smallest_near_peak
from hydro.tuner.planning.still_task import StillTask
from hydro.tuner.planning.turns import WARM_UP_ROUNDS, Patience, seconds_in_turns, step_clock
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

_BESIDE = 2
"""So many separate models step in turns with each fused bundle."""

LARGER_WITHOUT_GAIN = 2
"""So many larger bundles in a row without a gain end the measurement: one alone may have met a busy machine."""

BUDGET_SECONDS = 8.0
"""No larger bundle is begun that would end later than so long after the first."""

CONTENDERS = 0.8
"""Fusion counts with this share of the best throughput are measured once more, against each other."""

RUN_OFF_PATIENCE = Patience(seconds=0.7, min_rounds=4)
"""Of that second measurement."""

PARTS_PATIENCE = Patience(seconds=0.02, min_rounds=1, max_rounds=30)
"""Of what runs undivided on a slot."""

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

    def adding(self, line: str) -> Measured:
        """The same with a line more in its report."""
        return replace(self, report=f"{self.report}\n{line}")


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
    patience: Patience = Patience(seconds=0.1)
    clock: Clock | None = None
    """None: the one that suits the device."""

    def measure(
        self,
        max_lanes: int,
        *,
        fuse: bool,
        budget_seconds: float = BUDGET_SECONDS,
        memory_bytes: int = 0,
    ) -> Measured:
        """Measures all of a profile but the compiled form, in a few seconds for a small model.

        Args:
            max_lanes: Fusion counts are measured up to this one.
            fuse: Whether to try fused bundles at all.
            budget_seconds: Of the fused bundles, about; one lane is measured whatever it takes.
            memory_bytes: Fused bundles that would hold more are not measured; 0: no limit.

        Raises:
            ProfileFailed: the task raised, or its loss is not finite from the start.
        """
        separate = self._subject(Execution.SEPARATE)
        one = self._point(separate)
        self._grow(separate, _BESIDE)
        two = self._point(separate)
        fused, report = (
            self._measure_fused(separate, two.step_seconds, max_lanes, budget_seconds, memory_bytes)
            if fuse
            else ((), "not fused")
        )
        target = self._measure_target() if self.width != 1 else one
        lane_memory_bytes = max(0, two.memory_bytes - one.memory_bytes)
        profile = Profile(
            fused=fused,
            separate_step_seconds=two.step_seconds / _BESIDE,
            separate_memory_bytes=one.memory_bytes + (BUNDLE_LANES - 1) * lane_memory_bytes,
            separate_segment_seconds=self._segment_seconds(separate),
            lane_memory_bytes=lane_memory_bytes,
            target_step_seconds=target.step_seconds,
            target_memory_bytes=target.memory_bytes,
            threads=torch.get_num_threads(),
        )
        return Measured(profile, report)

    def measure_compiled(self, measured: Measured, bundle_steps: int) -> Measured:
        """Adds the compiled form, at the count that suits the emitted one: it takes as long as it compiles.

        Args:
            measured: What `measure` gave, and `patience_for_compiling` found worth it.
            bundle_steps: How many steps a bundle takes.

        Raises:
            Exception: Whatever the compiler raises; `measured` holds without it.
        """
        profile = measured.profile
        best = smallest_near_peak(profile, profile.fused)
        subject = self._subject(Execution.COMPILED)
        if best is None or not isinstance(subject.trainer, FusedTrainer):
            return measured.adding("not compiled: it does not fuse")
        self._grow(subject, best.lanes)
        separate, alone = self._separate_again(profile)
        reset_peak(self.device)
        begin = time.perf_counter()
        subject.trainer.train_step()
        compile_seconds = time.perf_counter() - begin
        if subject.trainer.compilation != COMPILED:
            return measured.adding(subject.trainer.compilation)
        while_compiling = peak_bytes(self.device)
        point = self._point(subject, beside=separate, alone=alone)
        memory_bytes = max(while_compiling, point.memory_bytes)
        compiled = CompiledPoint(best.lanes, point.step_seconds, compile_seconds, bundle_steps, memory_bytes)
        return Measured(replace(profile, compiled=compiled), measured.report).adding(str(compiled))

    def _separate_again(self, profile: Profile) -> tuple[_Subject, float]:
        """Separate models as they were measured for the profile, and the seconds of their step then."""
        separate = self._subject(Execution.SEPARATE)
        self._grow(separate, _BESIDE)
        return separate, _BESIDE * profile.separate_step_seconds

    def _measure_fused(
        self, separate: _Subject, alone: float, max_lanes: int, budget_seconds: float, memory_bytes: int
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
                point = replace(point, segment_seconds=self._segment_seconds(fused))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                break
            if fused.trainer.misses:
                # What was timed are the halves that it went on with.
                break
            points.append(point)
        report = fused.trainer.report
        return tuple(self._run_off(fused, points, separate, alone, budget_seconds, memory_bytes)), report

    def _run_off(
        self,
        fused: _Subject,
        points: Sequence[ProfilePoint],
        separate: _Subject,
        alone: float,
        budget_seconds: float,
        memory_bytes: int,
    ) -> Sequence[ProfilePoint]:
        """Measures the best counts once more, all of them in turns.

        They were measured one after the other, while the processor's clock and its other work changed: more than the
        counts differ by.
        """
        near = contenders(points, budget_seconds)
        if len(near) < 2 or (memory_bytes and sum(each.memory_bytes for each in near) > memory_bytes):
            return points
        try:
            subjects = [self._twin(fused, point.lanes) for point in near]
            works = [subject.trainer.train_step for subject in (*subjects, separate)]
            *seconds, beside = seconds_in_turns(works, fused.gate.clock, RUN_OFF_PATIENCE)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            return points
        again = {
            point.lanes: replace(point, step_seconds=measured * alone / beside)
            for point, measured in zip(near, seconds, strict=True)
        }
        return [again.get(point.lanes, point) for point in points]

    def _twin(self, fused: _Subject, lanes: int) -> _Subject:
        """A bundle of so many lanes of its own, by the same programs."""
        assert isinstance(fused.trainer, FusedTrainer)
        twin = _Subject(fused.trainer.twin(), fused.gate)
        twin.trainer.insert([LaneSpec(str(i), self.hyperparameters, seed=i) for i in range(lanes)])
        _raise_failures(twin.trainer)
        return twin

    def _measure_target(self) -> ProfilePoint:
        target = replace(self, width=1, solution=None)
        return target._point(target._subject(Execution.SEPARATE))

    def _subject(self, execution: Execution) -> _Subject:
        gate = RecordingGate(self.clock or step_clock(self.device), self._synchronize)
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

    def _point(self, subject: _Subject, beside: _Subject | None = None, alone: float | None = None) -> ProfilePoint:
        """Measures a bundle; its seconds in proportion to those of another one that takes turns with it.

        Args:
            subject: The bundle.
            beside: The other one.
            alone: Seconds of the other one's step when it was measured by itself.
        """
        reset_peak(self.device)
        subject.trainer.train_step()
        subject.validate()
        works = [subject.trainer.train_step, *([beside.trainer.train_step] if beside else [])]
        seconds = seconds_in_turns(works, subject.gate.clock, self.patience)
        subject.validate()
        _raise_failures(subject.trainer)
        # The machine may be slower now than it was when the other one ran by itself.
        drift = alone / seconds[1] if alone else 1.0
        return ProfilePoint(subject.lanes, seconds[0] * drift, peak_bytes(self.device))

    def _segment_seconds(self, subject: _Subject) -> float:
        """Measures what has to fit into a bubble, in rounds of their own: each part is waited for at its end."""

        def one_round() -> None:
            subject.trainer.train_step()
            subject.validate()

        with subject.gate.recording():
            # The forms that can pause are made in it.
            one_round()
        with subject.gate.recording():
            seconds_in_turns([one_round], subject.gate.clock, PARTS_PATIENCE)
        _raise_failures(subject.trainer)
        return subject.gate.longest_part_seconds()

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def contenders(points: Sequence[ProfilePoint], budget_seconds: float) -> list[ProfilePoint]:
    """Gives the counts near the best throughput, the smallest first, whose rounds together take no longer than that."""
    peak = max((point.rate for point in points), default=0.0)
    near = [point for point in points if point.rate >= CONTENDERS * peak]
    rounds = WARM_UP_ROUNDS + RUN_OFF_PATIENCE.min_rounds
    while rounds * sum(point.step_seconds for point in near) > budget_seconds:
        near.pop()
    return near


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
