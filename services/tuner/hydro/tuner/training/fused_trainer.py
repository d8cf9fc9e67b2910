"""Lanes as one grouped program.

Legend: G lanes.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hydro.optim import GroupedOptimizer, build_optimizer
from hydro.tuner.fusion.lanes import LaneTensors, lane_tensors
from hydro.tuner.fusion.lower import GroupedProgram, NotFusible
from hydro.tuner.task import Batch
from hydro.tuner.tracing import NotTraceable
from hydro.tuner.training.checkpoint import LaneState
from hydro.tuner.training.clipping import clip_lane_gradients
from hydro.tuner.training.data import BatchSource, Cursor, Shapes, shapes, stack
from hydro.tuner.training.failures import LaneFailures
from hydro.tuner.training.fused_lane import FusedLane
from hydro.tuner.training.fused_validation import FusedValidation
from hydro.tuner.training.lane import LaneFailure, LaneSpec, LaneStatus
from hydro.tuner.training.numbers import RateTable
from hydro.tuner.training.programs import ProgramLibrary
from hydro.tuner.training.schedules import Change
from hydro.tuner.training.trainer import Surroundings, require_metric

PREFIX = "model."
"""Before each name of the model's in the programs that hold the loss with the model inside it."""


@dataclass(frozen=True, slots=True)
class _Part:
    """Lanes that go through one program."""

    indices: list[int] | None
    """None: all of them, in their order."""
    program: GroupedProgram
    generators: list[torch.Generator]
    batches: list[Batch]
    """One that they share, or one for each."""

    def losses(self, stacked: LaneTensors) -> Tensor:
        """One loss per lane of the part."""
        has_lane_inputs = len(self.batches) > 1
        batch = stack(self.batches) if has_lane_inputs else self.batches[0]
        parameters: Mapping[str, Tensor] = stacked.parameters
        buffers = stacked.buffers
        if self.indices is not None:
            parameters, buffers = stacked.parameters_of(self.indices), stacked.buffers_of(self.indices)
        loss_G: Tensor = self.program(
            parameters, buffers, (batch,), lane_inputs=has_lane_inputs, generators=self.generators
        )
        if self.indices is not None:
            stacked.put_buffers(self.indices, buffers)
        return loss_G


def _losses(stacked: LaneTensors, parts: Sequence[_Part]) -> Tensor:
    """One loss per lane, in the lanes' order."""
    if parts[0].indices is None:
        return parts[0].losses(stacked)
    loss_G = torch.cat([part.losses(stacked) for part in parts])
    order = [index for part in parts for index in part.indices or ()]
    return loss_G[torch.tensor(order, device=loss_G.device).argsort()]


class FusedTrainer:
    """Trains all lanes with one forward, one backward and one optimizer step."""

    def __init__(self, given: Surroundings) -> None:
        self._given = given
        self._task = given.task
        self._gate = given.gate
        self._failures = LaneFailures(given.current)
        self._lanes: list[FusedLane] = []
        self._stack: LaneTensors | None = None
        self._optimizer: GroupedOptimizer | None = None
        self._programs = ProgramLibrary(given.task)
        self._validation = FusedValidation(given.task, self._programs, given.gate)
        self._source = BatchSource(given.task, given.data_seed)
        self._train_programs: dict[tuple[tuple[int, ...], Shapes], tuple[GroupedProgram, list[torch.Generator]]] = {}

    @property
    def lanes(self) -> tuple[LaneStatus, ...]:
        """See `BundleTrainer`."""
        return tuple(LaneStatus(lane.trial, lane.step) for lane in self._lanes)

    @property
    def fusion_count(self) -> int:
        """See `BundleTrainer`."""
        return max(1, len(self._lanes))

    @property
    def report(self) -> str:
        """See `BundleTrainer`."""
        return f"{len(self._lanes)} lanes as one program; {self._programs.report}"

    def train_step(self) -> None:
        """See `BundleTrainer`."""
        if self._stack is None or self._optimizer is None:
            return
        with self._gate.segment("data"):
            batches = self._source.draw()
        # Outside the segments: to trace and lower takes longer than a bubble.
        parts = self._parts(batches)
        with self._gate.segment("forward"):
            loss_G = _losses(self._stack, parts)
        with self._gate.segment("backward"):
            loss_G.sum().backward()  # type: ignore[no-untyped-call]
        with self._gate.segment("optimizer"):
            self._update(self._stack, self._optimizer)
            losses = loss_G.tolist()
        self._drop_diverged(losses)

    def _parts(self, batches: list[Batch]) -> list[_Part]:
        """The lanes by the shape of their batches: each part runs as a program of its own. Mostly there is one."""
        if len(batches) == 1:
            return [self._part(None, batches)]
        of_lane = [batches[stream] for stream in self._source.stream_of_lane]
        by_shape: dict[Shapes, list[int]] = {}
        for index, batch in enumerate(of_lane):
            by_shape.setdefault(shapes(batch), []).append(index)
        if len(by_shape) == 1:
            return [self._part(None, of_lane)]
        return [self._part(indices, [of_lane[index] for index in indices]) for indices in by_shape.values()]

    def _part(self, indices: list[int] | None, batches: list[Batch]) -> _Part:
        has_lane_inputs = len(batches) > 1
        program, generators = self._train_program(range(len(self._lanes)) if indices is None else indices, batches[0])
        program.graph(lane_inputs=has_lane_inputs)
        return _Part(indices, program, generators, batches)

    def _train_program(self, indices: Sequence[int], batch: Batch) -> tuple[GroupedProgram, list[torch.Generator]]:
        """Found once for each part of the lanes and batch shape, until lanes come or go."""
        key = (tuple(indices), shapes(batch))
        if key not in self._train_programs:
            lanes = [self._lanes[index] for index in indices]
            program = self._programs.program(lanes, batch, train=True)
            self._train_programs[key] = program, [lane.generator for lane in lanes]
        return self._train_programs[key]

    def _update(self, stacked: LaneTensors, optimizer: GroupedOptimizer) -> None:
        if self._task.gradient_clip_norm is not None:
            clip_lane_gradients(stacked.parameters.values(), self._task.gradient_clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        changes = []
        for lane in self._lanes:
            lane.step += 1
            changes.append(lane.numbers.schedule.advance())
        self._follow(optimizer, changes)

    def _follow(self, optimizer: GroupedOptimizer, changes: Sequence[Change]) -> None:
        """Gives the schedules' numbers to the optimizer; mostly nothing but learning rates has changed."""
        if Change.LEARNING_RATES in changes:
            optimizer.set_number("lr", self._rates.rates())
        for index, change in enumerate(changes):
            if change is Change.OTHERS:
                optimizer.set_options(index, self._lanes[index].numbers.options())

    def _drop_diverged(self, losses: Sequence[float]) -> None:
        dead = [(lane, loss) for lane, loss in zip(self._lanes, losses, strict=True) if not math.isfinite(loss)]
        for lane, loss in dead:
            self._failures.add_diverged(lane.trial, lane.step - 1, loss)
        if dead:
            self.remove([lane.trial for lane, _ in dead])

    def validate(self, trials: Sequence[str]) -> dict[str, dict[str, float]]:
        """See `BundleTrainer`."""
        if self._stack is None or self._optimizer is None:
            return {}
        chosen = set(trials)
        indices = [index for index, lane in enumerate(self._lanes) if lane.trial in chosen]
        metrics = self._validation.measure(self._lanes, indices, self._stack)
        changes = [Change.NOTHING] * len(self._lanes)
        for index in indices:
            lane = self._lanes[index]
            changes[index] = lane.numbers.schedule.observe(require_metric(metrics[lane.trial], self._given.objective))
        self._follow(self._optimizer, changes)
        return metrics

    def checkpoint(self, trial: str) -> bytes:
        """See `BundleTrainer`."""
        index = next(i for i, lane in enumerate(self._lanes) if lane.trial == trial)
        if self._stack is None or self._optimizer is None:
            raise KeyError(trial)
        lane = self._lanes[index]
        state = LaneState(
            lane.step,
            self._stack.state_dict(index),
            self._optimizer.lane_state(index),
            lane.generator.get_state(),
            lane.numbers.schedule.state(),
        )
        return state.to_bytes()

    def insert(self, lanes: Sequence[LaneSpec]) -> None:
        """See `BundleTrainer`."""
        built = [lane for spec in lanes for lane in self._built(spec)]
        if built:
            self._check_fusible([*self._lanes, *built])
            self._join(built)

    def _built(self, spec: LaneSpec) -> Iterator[FusedLane]:
        """The lane, or nothing when the task raises for it."""
        with self._failures.attributed(spec.trial, spec.start_step, but=(NotTraceable, NotFusible)):
            yield FusedLane(self._task, spec, self._given.models)

    def _check_fusible(self, lanes: Sequence[FusedLane]) -> None:
        first = lanes[0]
        for lane in lanes[1:]:
            if not lane.steps_like(first):
                raise NotFusible(f"{lane.trial} and {first.trial} have other parameters or another optimizer")
        hyperparameters = lanes[-1].hyperparameters
        batch = next(iter(self._task.train_batches(hyperparameters, self._source.seed, lanes[-1].step)))
        self._programs.program(lanes, batch, train=True)
        self._validation.prepare(lanes)

    def _join(self, built: Sequence[FusedLane]) -> None:
        if self._stack is None:
            self._stack = LaneTensors([built[0].model.template], PREFIX)
            self._stack.take([])
        self._stack.append([lane_tensors(lane.take_module()) for lane in built])
        options = [lane.numbers.options() for lane in built]
        if self._optimizer is None:
            # Without lanes yet: so that fresh and resumed ones come in the same way.
            parameters = {name: self._stack.parameters[PREFIX + name] for name in built[0].numbers.group_of}
            self._optimizer = build_optimizer(built[0].numbers.schedule.optimizer_type, parameters, options)
            self._optimizer.take([])
        for lane, numbers in zip(built, options, strict=True):
            self._optimizer.append(lane.take_optimizer_state(), numbers)
        self._lanes += built
        self._place_lanes()

    def remove(self, trials: Collection[str]) -> None:
        """See `BundleTrainer`."""
        kept = [index for index, lane in enumerate(self._lanes) if lane.trial not in trials]
        self._lanes = [self._lanes[index] for index in kept]
        if not kept:
            self._stack, self._optimizer = None, None
        elif self._stack is not None and self._optimizer is not None:
            self._stack.take(kept)
            self._optimizer.take(kept)
        self._place_lanes()

    def take_failures(self) -> tuple[LaneFailure, ...]:
        """See `BundleTrainer`."""
        return self._failures.take()

    def _place_lanes(self) -> None:
        self._source.place_lanes([Cursor(lane.step, lane.hyperparameters) for lane in self._lanes])
        self._train_programs.clear()
        if self._lanes:
            self._rates = RateTable([lane.numbers for lane in self._lanes])
