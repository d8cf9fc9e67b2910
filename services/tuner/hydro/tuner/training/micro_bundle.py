"""The lanes of a bundle that run at once: one forward, one backward and one optimizer step for all of them.

Legend: G lanes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hydro.optim import GradScaler, GroupedOptimizer, build_optimizer
from hydro.tuner.fusion.lanes import LaneTensors, lane_tensors
from hydro.tuner.fusion.lower import GroupedProgram
from hydro.tuner.fusion.pausing import Pause
from hydro.tuner.task import Batch
from hydro.tuner.training.clipping import clip_lane_gradients
from hydro.tuner.training.data import Shapes, close_in_length, padded, shapes, stack
from hydro.tuner.training.fused_lane import FusedLane
from hydro.tuner.training.lane import MemoryMiss
from hydro.tuner.training.mixed_precision import autocast, scales_losses
from hydro.tuner.training.numbers import RateTable
from hydro.tuner.training.out_of_memory import OutOfMemory, is_out_of_memory
from hydro.tuner.training.peak_memory import peak_bytes
from hydro.tuner.training.programs import ProgramLibrary
from hydro.tuner.training.schedules import Change
from hydro.tuner.training.trainer import Surroundings
from hydro.tuner.training.undo import Undo

PREFIX = "model."
"""Before each name of the model's in the programs that hold the loss with the model inside it."""


@dataclass(frozen=True, slots=True)
class MovingLane:
    """A lane on its way into a micro-bundle, with its tensors."""

    lane: FusedLane
    tensors: Mapping[str, Tensor]
    """Parameters and buffers by the model's own names."""
    optimizer_state: Mapping[str, Mapping[str, Any]]

    @classmethod
    def fresh(cls, lane: FusedLane) -> MovingLane:
        """Gives a lane that was just built; its own model is used up."""
        return cls(lane, lane_tensors(lane.take_module()), lane.take_optimizer_state())


@dataclass(frozen=True, slots=True)
class _Part:
    """Lanes that go through one program."""

    indices: list[int] | None
    """None: all of them, in their order."""
    program: GroupedProgram
    generators: list[torch.Generator]
    batches: list[Batch]
    """One that they share, or one for each."""
    draws: bool
    """Whether a step moves the generators."""

    def losses(self, stacked: LaneTensors, pause: Pause | None) -> Tensor:
        """One loss per lane of the part."""
        has_lane_inputs = len(self.batches) > 1
        batch = stack(self.batches) if has_lane_inputs else self.batches[0]
        parameters: Mapping[str, Tensor] = stacked.parameters
        buffers = stacked.buffers
        if self.indices is not None:
            parameters, buffers = stacked.parameters_of(self.indices), stacked.buffers_of(self.indices)
        loss_G: Tensor = self.program(
            parameters, buffers, (batch,), lane_inputs=has_lane_inputs, generators=self.generators, pause=pause
        )
        if self.indices is not None:
            stacked.put_buffers(self.indices, buffers)
        return loss_G


def _losses(stacked: LaneTensors, parts: Sequence[_Part], pause: Pause | None) -> Tensor:
    """One loss per lane, in the lanes' order."""
    if parts[0].indices is None:
        return parts[0].losses(stacked, pause)
    loss_G = torch.cat([part.losses(stacked, pause) for part in parts])
    order = [index for part in parts for index in part.indices or ()]
    return loss_G[torch.tensor(order, device=loss_G.device).argsort()]


def _storage(lane: FusedLane) -> tuple[LaneTensors, GroupedOptimizer]:
    """Gives stacks for such lanes and their optimizer, without lanes yet: fresh and resumed ones come in alike."""
    stacked, numbers = LaneTensors([lane.model.template], PREFIX), lane.numbers
    parameters = {name: stacked.parameters[PREFIX + name] for name in numbers.group_of}
    kind = numbers.schedule.optimizer_type
    optimizer = build_optimizer(kind, parameters, [numbers.options()], [lane.make_optimizer])
    stacked.take([])
    optimizer.take([])
    return stacked, optimizer


class MicroBundle:
    """Lanes with their tensors stacked for each other alone, so that running them slices nothing."""

    def __init__(self, given: Surroundings, programs: ProgramLibrary, arriving: Sequence[MovingLane]) -> None:
        """Stacks the first lanes: one at least."""
        self._task = given.task
        self._gate = given.gate
        self._programs = programs
        self.lanes: list[FusedLane] = []
        self.stacked, self._optimizer = _storage(arriving[0].lane)
        self._scaler: GradScaler = self._lane_scaler()
        self._is_proven = False
        """Whether these lanes have taken a step: the optimizer's state is there, and room for its work."""
        self._train_programs: dict[tuple[tuple[int, ...], Shapes], tuple[GroupedProgram, list[torch.Generator]]] = {}
        self._padded_programs: dict[tuple[tuple[int, ...], tuple[Shapes, ...]], GroupedProgram | None] = {}
        """The same, by the shape of each lane's batch; None where they cannot share one."""
        self._join(arriving)

    def __len__(self) -> int:
        """How many lanes there are."""
        return len(self.lanes)

    def train_step(self, batches: Sequence[Batch], streams: Sequence[int]) -> list[float]:
        """Takes every lane one optimizer step further.

        Args:
            batches: One for each stream of data.
            streams: For each lane the index of its own.

        Returns:
            Each lane's loss before the step.

        Raises:
            Exception: Whatever ran out of memory, or any other error; the lanes are as they were before the step.
            OutOfMemory: It ran out while the optimizer wrote: the lanes are not what they were.
        """
        # Outside the segments: to trace and lower takes longer than a bubble.
        parts = self._parts(batches, streams)
        if self._gate.pause is not None:
            for part in parts:
                part.program.prepare_pauses(lane_inputs=len(part.batches) > 1)
        undo = Undo(self.stacked.buffers, [each for part in parts if part.draws for each in part.generators])
        try:
            with self._gate.segment("forward"), autocast(self._task):
                loss_G = _losses(self.stacked, parts, self._gate.pause)
            with self._gate.segment("backward"):
                self._scaler.scale(loss_G).sum().backward()  # type: ignore[no-untyped-call]
            with self._gate.segment("optimizer"):
                self._update()
                losses: list[float] = loss_G.tolist()
        except Exception:
            undo.restore()
            self._optimizer.zero_grad()
            self._scaler = self._lane_scaler()
            raise
        self._is_proven = True
        return losses

    def _parts(self, batches: Sequence[Batch], streams: Sequence[int]) -> list[_Part]:
        """The lanes by the shape of their batches: each part runs as a program of its own. Mostly there is one.

        Batches that differ in length alone are padded, and their lanes share a program, where that is exact.
        """
        if all(stream == streams[0] for stream in streams):
            return [self._part(None, [batches[streams[0]]])]
        of_lane = [batches[stream] for stream in streams]
        by_shape: dict[Shapes, list[int]] = {}
        for index, batch in enumerate(of_lane):
            by_shape.setdefault(shapes(batch), []).append(index)
        if len(by_shape) == 1:
            return [self._part(None, of_lane)]
        groups = close_in_length(by_shape)
        return [part for group in groups for part in self._close_parts(group, by_shape, of_lane)]

    def _close_parts(
        self, group: Sequence[Shapes], by_shape: Mapping[Shapes, list[int]], of_lane: Sequence[Batch]
    ) -> list[_Part]:
        """One part for lanes whose batches are about as long, or one for each shape where samples are mixed."""
        if len(group) > 1:
            indices = sorted(index for each in group for index in by_shape[each])
            part = self._padded_part(indices, [of_lane[index] for index in indices])
            if part is not None:
                return [part]
        return [self._part(by_shape[each], [of_lane[index] for index in by_shape[each]]) for each in group]

    def _padded_part(self, indices: list[int], batches: Sequence[Batch]) -> _Part | None:
        lanes = [self.lanes[index] for index in indices]
        key = (tuple(indices), tuple(map(shapes, batches)))
        if key not in self._padded_programs:
            self._padded_programs[key] = self._programs.padded_program(lanes, batches)
        program = self._padded_programs[key]
        if program is None:
            return None
        generators = [lane.generator for lane in lanes]
        is_whole = len(indices) == len(self.lanes)
        return _Part(
            None if is_whole else indices, program, generators, padded(batches), program.draws(lane_inputs=True)
        )

    def _part(self, indices: list[int] | None, batches: list[Batch]) -> _Part:
        has_lane_inputs = len(batches) > 1
        program, generators = self._train_program(range(len(self.lanes)) if indices is None else indices, batches[0])
        return _Part(indices, program, generators, batches, program.draws(lane_inputs=has_lane_inputs))

    def _train_program(self, indices: Sequence[int], batch: Batch) -> tuple[GroupedProgram, list[torch.Generator]]:
        """Found once for each part of the lanes and batch shape, until lanes come or go."""
        key = (tuple(indices), shapes(batch))
        if key not in self._train_programs:
            lanes = [self.lanes[index] for index in indices]
            program = self._programs.program(lanes, batch, train=True)
            self._train_programs[key] = program, [lane.generator for lane in lanes]
        return self._train_programs[key]

    def _update(self) -> None:
        self._scaler.unscale_(self._optimizer)
        clip_lane_gradients(self._task, self.stacked.parameters.values())
        self._step_optimizer()
        self._scaler.update()
        self._optimizer.zero_grad()
        changes: list[Change] = []
        for lane in self.lanes:
            lane.step += 1
            lane.loss_scale = self._scaler.lane_state(len(changes))
            changes.append(lane.numbers.schedule.advance())
        self.follow(changes)

    def _step_optimizer(self) -> None:
        # The first step makes the optimizer's state; later ones need no more memory than the backward that just ended.
        before = None if self._is_proven else self.moving(range(len(self)), copied=True)
        try:
            self._scaler.step(self._optimizer)
        except Exception as error:
            if is_out_of_memory(error) and before is None:
                raise OutOfMemory(MemoryMiss(len(self), peak_bytes(self._task.device))) from error
            if before is not None:
                self._put_back(before)
            raise

    @torch.no_grad()
    def _put_back(self, before: Sequence[MovingLane]) -> None:
        self._optimizer.take([])
        for own, each in zip(self.stacked.rows(range(len(self))), before, strict=True):
            for name, tensor in own.items():
                tensor.copy_(each.tensors[name])
            self._optimizer.append(each.optimizer_state, each.lane.numbers.options(), each.lane.make_optimizer)

    def follow(self, changes: Sequence[Change]) -> None:
        """Gives the schedules' numbers to the optimizer; mostly nothing but learning rates has changed."""
        if Change.LEARNING_RATES in changes:
            self._optimizer.set_number("lr", self._rates.rates())
        for index, change in enumerate(changes):
            if change is Change.OTHERS:
                self._optimizer.set_options(index, self.lanes[index].numbers.options())

    def optimizer_state(self, index: int) -> dict[str, dict[str, Tensor]]:
        """Gives a copy of a lane's optimizer state."""
        return self._optimizer.lane_state(index)

    def _join(self, arriving: Sequence[MovingLane]) -> None:
        self.stacked.append([each.tensors for each in arriving])
        for each in arriving:
            self._optimizer.append(each.optimizer_state, each.lane.numbers.options(), each.lane.make_optimizer)
        self.lanes += [each.lane for each in arriving]
        self._place()

    def moving(self, indices: Sequence[int], *, copied: bool = False) -> list[MovingLane]:
        """Gives lanes as another micro-bundle takes them in; here they stay until they are dropped."""
        rows = self.stacked.rows(indices)
        if copied:
            rows = [{name: tensor.clone() for name, tensor in row.items()} for row in rows]
        return [
            MovingLane(self.lanes[index], row, self._optimizer.lane_state(index))
            for index, row in zip(indices, rows, strict=True)
        ]

    def succeed(self, heirs: Mapping[int, tuple[int, FusedLane]]) -> None:
        """Puts lanes in the places of others: by place, the index of the lane whose tensors they copy, and the lane."""
        if not heirs:
            return
        order = [heirs[index][0] if index in heirs else index for index in range(len(self))]
        self.stacked.take(order)
        self._optimizer.take(order)
        for index, (_, heir) in heirs.items():
            self.lanes[index] = heir
            self._optimizer.rebuild(index, heir.numbers.options(), heir.make_optimizer)
        self._place()

    def keep(self, indices: Sequence[int]) -> None:
        """Drops all lanes but these."""
        self.stacked.take(indices)
        self._optimizer.take(indices)
        self.lanes = [self.lanes[index] for index in indices]
        self._place()

    def _place(self) -> None:
        self._train_programs.clear()
        self._padded_programs.clear()
        self._is_proven = False
        self._scaler = self._lane_scaler()
        if self.lanes:
            self._rates = RateTable([lane.numbers for lane in self.lanes])

    def _lane_scaler(self) -> GradScaler:
        scaler = GradScaler(self._task.device, lanes=len(self.lanes), enabled=scales_losses(self._task))
        for index, lane in enumerate(self.lanes):
            scaler.load_lane_state(index, lane.loss_scale)
        return scaler
