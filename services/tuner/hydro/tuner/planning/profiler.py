"""Measures a surrogate's bundles at rising fusion counts, against separate surrogates and the target."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from hydro.tuner.fusion.compiled import COMPILED
from hydro.tuner.planning.profile import CompiledPoint, Profile, ProfilePoint
from hydro.tuner.planning.recording_gate import Clock, RecordingGate
from hydro.tuner.planning.rising_counts import Limits, measure_rising
from hydro.tuner.planning.run_off import run_off
from hydro.tuner.planning.sizing import BUNDLE_LANES, smallest_near_peak
from hydro.tuner.planning.still_task import StillTask
from hydro.tuner.planning.subject import Companion, Subject
from hydro.tuner.planning.turns import Patience, step_clock
from hydro.tuner.shrinking.solution import Solution
from hydro.tuner.task import Hyperparameters, TrainingTask
from hydro.tuner.training.build import build_trainer
from hydro.tuner.training.execution import Execution
from hydro.tuner.training.fused_trainer import FusedTrainer
from hydro.tuner.training.lane import LaneSpec
from hydro.tuner.training.peak_memory import peak_bytes, reset_peak

BUDGET_SECONDS = 8.0
"""No larger bundle is begun that would end later than so long after the first."""

_BESIDE = 2
"""So many separate models step in turns with each fused bundle."""

_CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Measured:
    """A profile, and how the largest bundle ran."""

    profile: Profile
    report: str

    def adding(self, line: str) -> Measured:
        """The same with a line more in its report."""
        return replace(self, report=f"{self.report}\n{line}")


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
        one = separate.point(self.patience)
        separate.grow(_BESIDE)
        two = separate.point(self.patience)
        limits = Limits(max_lanes, budget_seconds, memory_bytes)
        beside = Companion(separate, two.step_seconds)
        fused, report = self._measure_fused(beside, limits) if fuse else ((), "not fused")
        target = self._measure_target() if self.width != 1 else one
        lane_memory_bytes = max(0, two.memory_bytes - one.memory_bytes)
        profile = Profile(
            fused=tuple(fused),
            separate_step_seconds=two.step_seconds / _BESIDE,
            separate_memory_bytes=one.memory_bytes + (BUNDLE_LANES - 1) * lane_memory_bytes,
            separate_segment_seconds=separate.segment_seconds(),
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
        subject.grow(best.lanes)
        beside = self._separate_again(profile)
        reset_peak(self.device)
        begin = time.perf_counter()
        subject.trainer.train_step()
        compile_seconds = time.perf_counter() - begin
        if subject.trainer.compilation != COMPILED:
            return measured.adding(subject.trainer.compilation)
        while_compiling = peak_bytes(self.device)
        point = subject.point(self.patience, beside)
        memory_bytes = max(while_compiling, point.memory_bytes)
        compiled = CompiledPoint(best.lanes, point.step_seconds, compile_seconds, bundle_steps, memory_bytes)
        return Measured(replace(profile, compiled=compiled), measured.report).adding(str(compiled))

    def _separate_again(self, profile: Profile) -> Companion:
        """Separate models as they were measured for the profile."""
        separate = self._subject(Execution.SEPARATE)
        separate.grow(_BESIDE)
        return Companion(separate, _BESIDE * profile.separate_step_seconds)

    def _measure_fused(self, beside: Companion, limits: Limits) -> tuple[Sequence[ProfilePoint], str]:
        # The tracing counts.
        deadline = time.monotonic() + limits.budget_seconds
        fused = self._subject(Execution.FUSED)
        if not isinstance(fused.trainer, FusedTrainer):
            return (), fused.trainer.report
        points = measure_rising(fused, beside, limits, deadline, self.patience)
        report = fused.trainer.report
        return run_off(fused, points, beside, limits), report

    def _measure_target(self) -> ProfilePoint:
        target = replace(self, width=1, solution=None)
        return target._subject(Execution.SEPARATE).point(self.patience)

    def _subject(self, execution: Execution) -> Subject:
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
        subject = Subject(trainer, gate, self.hyperparameters, self.device)
        subject.raise_failures()
        return subject

    def _synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
