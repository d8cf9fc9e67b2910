"""The lowered program: parameters of all lanes in, outputs of all lanes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.utils import _pytree as pytree

from hydro.tuner.fusion.compiled import COMPILED, CompiledGraph
from hydro.tuner.fusion.flattening import flatten_as
from hydro.tuner.fusion.pausing import Pause, pausing
from hydro.tuner.fusion.report import FusionReport
from hydro.tuner.fusion.structure import Structure


@dataclass(frozen=True, slots=True)
class GroupedGraph:
    """One emitted graph and what its placeholders stand for, in order: these, then lanes and generators."""

    module: GraphModule
    parameters: tuple[str, ...]
    buffers: tuple[str, ...]
    shared: frozenset[str]
    """Those of the parameters and buffers that have no lane axis."""
    numbers: tuple[Tensor, ...]
    """[G], float64."""
    constants: tuple[Tensor, ...]
    lane_constants: frozenset[int]
    """Which of the constants are [G, ...]."""
    draws: bool
    """Whether it takes random numbers."""
    report: FusionReport

    def of(self, rows: Sequence[int]) -> GroupedGraph:
        """Gives the graph for lanes whose numbers are those of these lanes; the emitted module stays the same one."""
        chosen = list(rows)
        constants = (x[chosen] if index in self.lane_constants else x for index, x in enumerate(self.constants))
        return replace(self, numbers=tuple(number[chosen] for number in self.numbers), constants=tuple(constants))

    def compiled(self, inputs: int, *, lane_inputs: bool) -> CompiledGraph:
        """Gives the graph by way of torch.compile, for so many input tensors."""
        tensors = [name not in self.shared for name in (*self.parameters, *self.buffers)]
        constants = [index in self.lane_constants for index in range(len(self.constants))]
        stacked = [*tensors, *[True] * len(self.numbers), *constants, *[lane_inputs] * inputs]
        buffers = range(len(self.parameters), len(tensors))
        return CompiledGraph(self.module, stacked, buffers, draws=self.draws)

    def carrying(self, structure: Structure) -> GroupedGraph:
        """Gives the graph for other lanes that differ in the same places; the emitted module stays the same one."""
        constants = list(self.constants)
        for index, each in zip(sorted(self.lane_constants), structure.constants.values(), strict=True):
            constants[index] = torch.stack(each)
        return replace(self, numbers=number_vectors(structure), constants=tuple(constants))


def number_vectors(structure: Structure) -> tuple[Tensor, ...]:
    """Gives the numbers in which lanes differ.

    Shape: each [G], float64.
    """
    return tuple(torch.tensor(each, dtype=torch.float64) for each in structure.numbers.values())


class GroupedProgram:
    """Runs one traced module for all lanes at once.

    The number of lanes is that of the parameters it is called with, unless numbers differ among lanes: then lanes stay
    those of the traces, in their order.
    """

    def __init__(
        self,
        lower: Callable[[bool], GroupedGraph],
        in_spec: pytree.TreeSpec,
        rebuild: Callable[[Sequence[Any]], Any],
        aliases: Mapping[str, str],
        compiled: dict[bool, CompiledGraph] | None = None,
    ) -> None:
        """Takes what lowers the trace; `lower(lane_inputs)` is called once for each way of giving inputs.

        Where `compiled` is given, runs go by torch.compile: it keeps the forms for further programs of these graphs.
        """
        self._lower = lower
        self._in_spec = in_spec
        self._rebuild = rebuild
        self._aliases = aliases
        self._compiled = compiled
        self._graphs: dict[bool, GroupedGraph] = {}
        self._had_lane_inputs = False

    def of(self, rows: Sequence[int]) -> GroupedProgram:
        """Gives the program for lanes that are configured like these of the traces' lanes, without lowering again."""
        return GroupedProgram(
            lambda lane_inputs: self.graph(lane_inputs=lane_inputs).of(rows),
            self._in_spec,
            self._rebuild,
            self._aliases,
            self._compiled,
        )

    def compiled(self) -> GroupedProgram:
        """Gives the program that runs by torch.compile, at fusion counts that are powers of two.

        The lanes are padded up to one, so that nothing is compiled again as they come and go. What draws random
        numbers, and what torch cannot compile whole, runs as here: see `compilation`. A lane's bits do not depend on
        the values of its neighbours, but may on its place and on how many there are.
        """
        form = self.graph
        return GroupedProgram(
            lambda lane_inputs: form(lane_inputs=lane_inputs), self._in_spec, self._rebuild, self._aliases, {}
        )

    @property
    def compilation(self) -> str:
        """Whether the program runs compiled, and if not, why, in words; empty where nobody asked for it."""
        if self._compiled is None:
            return ""
        used = [self.graph(lane_inputs=key).compiled(0, lane_inputs=key) for key in self._graphs]
        reasons = [each.reason for each in (*self._compiled.values(), *used) if each.reason]
        return f"not compiled: {reasons[0]}" if reasons else COMPILED

    def carrying(self, structure: Structure) -> GroupedProgram:
        """Gives the program for other traces, which differ in the same places, without lowering again."""
        return GroupedProgram(
            lambda lane_inputs: self.graph(lane_inputs=lane_inputs).carrying(structure),
            self._in_spec,
            self._rebuild,
            self._aliases,
            self._compiled,
        )

    @property
    def report(self) -> FusionReport:
        """Every op call with its tier, for inputs given as in the last call."""
        return self.graph(lane_inputs=self._had_lane_inputs).report

    def graph(self, *, lane_inputs: bool) -> GroupedGraph:
        """Gives the emitted graph for inputs that lanes share, or that carry the lane axis themselves."""
        if lane_inputs not in self._graphs:
            self._graphs[lane_inputs] = self._lower(lane_inputs)
        return self._graphs[lane_inputs]

    def draws(self, *, lane_inputs: bool) -> bool:
        """Tells whether a run takes random numbers."""
        return self.graph(lane_inputs=lane_inputs).draws

    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        inputs: Sequence[Any],
        *,
        lane_inputs: bool = False,
        generators: Sequence[torch.Generator] | None = None,
        keywords: Mapping[str, Any] | None = None,
        pause: Pause | None = None,
    ) -> Any:
        """Runs the module.

        Args:
            parameters: [G, ...] by the traced module's names; gradients flow to them. Tied ones under either name.
            buffers: [G, ...] by name, contiguous; updated in place (running statistics).
            inputs: The traced module's arguments.
            lane_inputs: Whether every input tensor is [G, ...]; else lanes share them.
            generators: A random stream per lane; None draws from the default one.
            keywords: The traced module's keyword arguments.
            pause: Called between ops, here and in the backward; a compiled program has no such places.

        Returns:
            The module's output, with a leading lane axis on every tensor.
        """
        graph = self.graph(lane_inputs=lane_inputs)
        self._had_lane_inputs = lane_inputs
        flat = flatten_as((tuple(inputs), dict(keywords or {})), self._in_spec)
        own = [self._find(parameters, name) for name in graph.parameters]
        state = [self._find(buffers, name) for name in graph.buffers]
        lanes = self._lanes(graph, parameters, generators, flat if lane_inputs else [])
        tensors = (*own, *state, *graph.numbers, *graph.constants, *flat)
        if self._compiled is not None:
            if lane_inputs not in self._compiled:
                self._compiled[lane_inputs] = graph.compiled(len(flat), lane_inputs=lane_inputs)
            return self._rebuild(self._compiled[lane_inputs](tensors, lanes, generators))
        if pause is not None:
            return self._rebuild(pausing(graph.module).forward(*tensors, lanes, generators, pause))
        return self._rebuild(graph.module.forward(*tensors, lanes, generators))

    def prepare_pauses(self, *, lane_inputs: bool) -> None:
        """Makes the form that can pause, so that the next run need not."""
        if self._compiled is None:
            pausing(self.graph(lane_inputs=lane_inputs).module)

    def _find(self, tensors: Mapping[str, Tensor], name: str) -> Tensor:
        if name in tensors:
            return tensors[name]
        return tensors[self._aliases.get(name, name)]

    def _lanes(
        self,
        graph: GroupedGraph,
        parameters: Mapping[str, Tensor],
        generators: Sequence[torch.Generator] | None,
        inputs: Sequence[Any],
    ) -> int:
        stacked = (tensor for name, tensor in parameters.items() if name not in graph.shared)
        for tensors in (graph.numbers, stacked, inputs):
            for tensor in tensors:
                return len(tensor)
        if generators is not None:
            return len(generators)
        raise ValueError("nothing tells the number of lanes: the model has no parameters, and the inputs are shared")
