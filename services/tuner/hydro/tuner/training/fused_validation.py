"""Validation of some of a bundle's lanes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice

import torch
from torch import Tensor
from torch.func import functional_call

from hydro.tuner.fusion.lanes import LaneTensors
from hydro.tuner.fusion.lower import GroupedProgram, NotFusible
from hydro.tuner.task import Batch
from hydro.tuner.tracing import MetricsModule, NotTraceable
from hydro.tuner.training.averages import SampleAverages
from hydro.tuner.training.fused_lane import FusedLane
from hydro.tuner.training.gate import Gate
from hydro.tuner.training.mixed_precision import autocast
from hydro.tuner.training.placed_task import PlacedTask, sample_count
from hydro.tuner.training.programs import ProgramLibrary
from hydro.tuner.training.reads import HyperparameterReads


class FusedValidation:
    """Measures lanes together, those whose validation data differ apart."""

    def __init__(self, task: PlacedTask, programs: ProgramLibrary, gate: Gate) -> None:
        self._task = task
        self._programs = programs
        self._gate = gate
        self._reads = HyperparameterReads()
        self._is_traceable = True

    def measure(
        self, lanes: Sequence[FusedLane], indices: Sequence[int], stacked: LaneTensors
    ) -> dict[str, dict[str, float]]:
        """Gives each metric's mean over the validation samples, by trial, of the lanes at these indices."""
        measured: dict[str, dict[str, float]] = {}
        waiting = list(indices)
        while waiting:
            first = lanes[waiting[0]].hyperparameters
            batches = iter(self._task.validation_batches(self._reads.watched(first)))
            # What the data read is known once a batch has been read: it serves all lanes that agree on that.
            head = list(islice(batches, 1))
            part, reads = self._alike(lanes, waiting), self._reads.count
            metrics = self._measure_part(lanes, part, stacked, chain(head, batches))
            if self._reads.count == reads:
                measured |= metrics
                waiting = [index for index in waiting if index not in part]
        return measured

    def _alike(self, lanes: Sequence[FusedLane], waiting: Sequence[int]) -> list[int]:
        """The waiting lanes whose validation data are the first one's."""
        values = [self._reads.values(lanes[index].hyperparameters) for index in waiting]
        return [index for index, own in zip(waiting, values, strict=True) if own == values[0]]

    def _measure_part(
        self, lanes: Sequence[FusedLane], indices: Sequence[int], stacked: LaneTensors, batches: Iterable[Batch]
    ) -> dict[str, dict[str, float]]:
        whole = len(indices) == len(lanes)
        parameters = stacked.parameters if whole else stacked.parameters_of(indices)
        buffers = stacked.buffers_of(indices)
        part = [lanes[index] for index in indices]
        averages = SampleAverages()
        for batch in batches:
            # Outside the segment: a trace takes longer than a bubble.
            program = self._program(part, batch)
            with self._gate.segment("validation"), torch.no_grad(), autocast(self._task):
                averages.add(self._metrics(program, part, parameters, buffers, batch), sample_count(batch))
        means = {name: values_G.tolist() for name, values_G in averages.means().items()}
        return {lane.trial: {name: means[name][row] for name in means} for row, lane in enumerate(part)}

    def prepare(self, lanes: Sequence[FusedLane]) -> None:
        """Traces and lowers for the first validation batch, ahead of time."""
        for batch in islice(self._task.validation_batches(self._reads.watched(lanes[0].hyperparameters)), 1):
            self._program(lanes, batch)

    def _program(self, part: Sequence[FusedLane], batch: Batch) -> GroupedProgram | None:
        if self._is_traceable:
            try:
                program = self._programs.program(part, batch, train=False)
            except (NotTraceable, NotFusible):
                # Metrics may do what no graph can hold, and they are few: one lane after the other.
                self._is_traceable = False
            else:
                if self._gate.pause is not None:
                    program.prepare_pauses(lane_inputs=False)
                return program
        return None

    def _metrics(
        self,
        program: GroupedProgram | None,
        part: Sequence[FusedLane],
        parameters: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        batch: Batch,
    ) -> Mapping[str, Tensor]:
        if program is not None:
            generators = [lane.generator.clone_state() for lane in part]
            metrics: Mapping[str, Tensor] = program(
                parameters, buffers, (batch,), lane_inputs=False, generators=generators, pause=self._gate.pause
            )
            return metrics
        rows = [self._lane_metrics(lane, {**parameters, **buffers}, row, batch) for row, lane in enumerate(part)]
        return {name: torch.stack([metrics[name] for metrics in rows]) for name in rows[0]}

    def _lane_metrics(
        self, lane: FusedLane, tensors: Mapping[str, Tensor], row: int, batch: Batch
    ) -> dict[str, Tensor]:
        module = MetricsModule(self._task, lane.model.template, lane.hyperparameters).eval()
        own = {name: tensor[row] for name, tensor in tensors.items()}
        metrics: dict[str, Tensor] = functional_call(module, own, (batch,), tie_weights=True)
        return {name: torch.as_tensor(value) for name, value in metrics.items()}
