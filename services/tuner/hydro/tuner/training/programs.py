"""The grouped programs of a bundle, one for each batch shape, in train and in eval mode."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from hydro.tuner.fusion.lower import GroupedProgram, NotFusible, lower_padded
from hydro.tuner.task import Batch, Hyperparameters
from hydro.tuner.tracing import LossModule, MetricsModule, Trace, trace
from hydro.tuner.training.data import Shapes, sample_counts, shapes
from hydro.tuner.training.models import LaneModel
from hydro.tuner.training.placed_task import PlacedTask
from hydro.tuner.training.reads import HyperparameterReads
from hydro.tuner.training.trace_family import TraceFamily


class TracedLane(Protocol):
    """What a lane's programs depend on."""

    @property
    def model(self) -> LaneModel:
        """The model it trains."""
        ...

    @property
    def hyperparameters(self) -> Hyperparameters:
        """The trial's, completed."""
        ...


class ProgramLibrary:
    """Traces and lowers, each thing once.

    Lanes whose loss and model read equal hyperparameters have one trace; where traces differ, and in numbers alone, one
    program serves them all, and is called with those numbers as vectors over its lanes.
    """

    def __init__(self, task: PlacedTask, *, compiled_from: int | None = None) -> None:
        """Takes from how many lanes on training programs are to be compiled; None: never.

        Those of validation run seldom and stay as they are.
        """
        self._task = task
        self._compiled_from = compiled_from
        self._reads = {True: HyperparameterReads(), False: HyperparameterReads()}
        self._traces: dict[Hashable, Trace] = {}
        self._families: dict[Hashable, TraceFamily] = {}
        self._newest: GroupedProgram | None = None
        self._padded: dict[tuple[int, ...], GroupedProgram | None] = {}
        self._apart = ""

    def program(self, lanes: Sequence[TracedLane], batch: Batch, *, train: bool) -> GroupedProgram:
        """Gives the program for these lanes in this order: the loss in train mode, the metrics in eval mode.

        Raises:
            NotTraceable: The task cannot be exported.
            NotFusible: The lanes differ in more than numbers.
        """
        traces, family = self._family(lanes, batch, train)
        self._newest = family.program(traces)
        return self._newest

    def padded_program(self, lanes: Sequence[TracedLane], batches: Sequence[Batch]) -> GroupedProgram | None:
        """Gives the loss of lanes whose batches differ in length, for batches padded to the longest; None: it has none.

        Raises:
            NotTraceable: The task cannot be exported.
        """
        of_shape = [shapes(batch) for batch in batches]
        traces = [self._trace(*each, train=True) for each in zip(lanes, batches, of_shape, strict=True)]
        key = tuple(id(each) for each in traces)
        if key not in self._padded:
            self._padded[key] = self._lower_padded(traces, sample_counts(of_shape))
        return self._padded[key]

    def _lower_padded(self, traces: Sequence[Trace], lengths: Sequence[int] | None) -> GroupedProgram | None:
        if lengths is None or any(each.in_spec != traces[0].in_spec for each in traces):
            return None
        try:
            return lower_padded(traces, lengths)
        except NotFusible as error:
            self._apart = str(error)
            return None

    def check(self, lanes: Sequence[TracedLane], batch: Batch) -> None:
        """Tells whether any of these lanes could share a training program.

        Raises:
            NotTraceable: The task cannot be exported.
            NotFusible: The lanes differ in more than numbers.
        """
        self._family(lanes, batch, train=True)

    def _family(self, lanes: Sequence[TracedLane], batch: Batch, train: bool) -> tuple[list[Trace], TraceFamily]:
        of_shape = shapes(batch)
        traces = [self._trace(lane, batch, of_shape, train) for lane in lanes]
        compiles = train and self._compiled_from is not None and len(lanes) >= self._compiled_from
        key = train, compiles, of_shape
        family = self._families.setdefault(key, TraceFamily(compiles=compiles))
        try:
            family.admit(traces)
        except NotFusible:
            # They may differ from lanes that have gone, and not among themselves.
            family = TraceFamily(compiles=compiles)
            family.admit(traces)
            self._families[key] = family
        return traces, family

    def _trace(self, lane: TracedLane, batch: Batch, of_shape: Shapes, train: bool) -> Trace:
        reads = self._reads[train]
        key = (train, of_shape, id(lane.model), reads.values(lane.hyperparameters))
        if key not in self._traces:
            kind = LossModule if train else MetricsModule
            module = kind(self._task, lane.model.template, reads.watched(lane.hyperparameters))
            traced = trace(module, (batch,), train=train)
            self._traces[*key[:3], reads.values(lane.hyperparameters)] = traced
            return traced
        return self._traces[key]

    @property
    def compilation(self) -> str:
        """See `GroupedProgram`: of the newest training program."""
        told = [family.compilation for family in self._families.values() if family.compilation]
        return told[-1] if told else ""

    @property
    def report(self) -> str:
        """How the ops of the newest program run over lanes, and why batches of different lengths are not padded."""
        padded = [each for each in self._padded.values() if each]
        program = padded[-1] if padded else self._newest
        newest = str(program.report) if program else "no program yet"
        return f"{self._apart}; {newest}" if self._apart else newest
