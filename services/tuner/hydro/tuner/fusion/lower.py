"""Lowers a traced module to a grouped graph: once, by the rules of the ops' rooms, with typed layouts."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Graph, GraphModule, Node
from torch.utils import _pytree as pytree

from hydro.tuner.fusion.constants import Constants
from hydro.tuner.fusion.emitter import Emitter
from hydro.tuner.fusion.fallback import can_vmap, unrolled, vmapped
from hydro.tuner.fusion.inplace import functional_form, without_changed_views
from hydro.tuner.fusion.layout import Layout, Value
from hydro.tuner.fusion.overwriting import overwrite_operands
from hydro.tuner.fusion.own_samples import OwnSamples
from hydro.tuner.fusion.program import GroupedGraph, GroupedProgram, number_vectors
from hydro.tuner.fusion.report import FusionReport, OpRun, Tier
from hydro.tuner.fusion.rounding import narrows, rounds_by_place
from hydro.tuner.fusion.samples import Padding, takes_random_numbers
from hydro.tuner.fusion.structure import NotFusible, Structure, call_arguments, compare
from hydro.tuner.ops.registry import lane_rules
from hydro.tuner.tracing import Trace, location

__all__ = ["GroupedProgram", "NotFusible", "lower", "lower_as", "lower_padded"]

aten = torch.ops.aten


def lower(traces: Sequence[Trace], shared: Collection[str] = ()) -> GroupedProgram:
    """Lowers one trace for any number of lanes, or one trace per lane whose number constants differ.

    Args:
        traces: One that stands for all lanes, or one for each; in the latter case, numbers that differ (a dropout
            probability, label smoothing) become vectors over lanes.
        shared: Names of parameters and buffers that lanes share: given without a lane axis, and frozen.

    Raises:
        NotFusible: The structures differ, or an op has no meaning over lanes.
    """
    return lower_as(traces[0], compare(traces) if len(traces) > 1 else Structure(), shared)


def lower_as(trace: Trace, structure: Structure, shared: Collection[str] = ()) -> GroupedProgram:
    """Lowers the first of several traces with what the others differ in.

    Only where they differ decides about the emitted graph: with other values it is `program.carrying` them.

    Raises:
        NotFusible: An op has no meaning over lanes.
    """
    lower_graph = partial(_lower_graph, trace, structure, frozenset(shared))
    program = GroupedProgram(lower_graph, trace.in_spec, trace.rebuild, trace.aliases)
    program.graph(lane_inputs=False)
    return program


def lower_padded(traces: Sequence[Trace], lengths: Sequence[int]) -> GroupedProgram:
    """Lowers traces of lanes whose batches have different lengths; inputs are [G, longest, ...], see `padded`.

    What treats samples by themselves runs over the padded batches. What mixes them, and what draws, runs once for each
    length, over the lanes' own samples alone.

    Args:
        traces: One for each lane, of its own batch.
        lengths: The number of samples in each lane's batch.

    Raises:
        NotFusible: Samples are mixed where that cannot be told apart, or the structures differ.
    """
    longest = traces[max(range(len(traces)), key=lengths.__getitem__)]
    structure = compare([longest, *traces], [max(lengths), *lengths]).without_first()
    program = GroupedProgram(
        partial(_lower_graph, longest, structure, frozenset()), longest.in_spec, longest.rebuild, longest.aliases
    )
    program.graph(lane_inputs=True)
    return program


def _lower_graph(trace: Trace, structure: Structure, shared: frozenset[str], lane_inputs: bool) -> GroupedGraph:
    return _Lowering(trace, structure, shared, lane_inputs).run()


class _Lowering:
    """One walk over a traced graph."""

    def __init__(self, trace: Trace, structure: Structure, shared: frozenset[str], lane_inputs: bool) -> None:
        self._trace = trace
        self._structure = structure
        self._padding = structure.padding
        self._shared = shared
        self._graph = Graph()
        self._values: dict[Node, Any] = {}
        self._runs: list[OpRun] = []
        self._computed: dict[Any, Any] = {}
        self._source = without_changed_views(trace.graph, trace.buffers)
        self._constants = Constants(self._graph)
        nodes = {node.name: node for node in self._source.nodes if node.op == "placeholder"}
        for name, target in {**trace.parameters, **trace.buffers}.items():
            self._place(nodes[name], Layout.SHARED if target in shared else Layout.LANES)
        self._numbers = {
            key: Value(
                torch.empty((), dtype=torch.float64, device="meta"),
                {Layout.LANES: self._graph.placeholder(f"number_{index}")},
                is_number=True,
            )
            for index, key in enumerate(structure.numbers)
        }
        for name in trace.constants:
            self._place(nodes[name], Layout.LANES if name in structure.constants else Layout.SHARED)
        for name in trace.inputs:
            self._place(nodes[name], Layout.LANES if lane_inputs else Layout.SHARED)
        self._emit = Emitter(self._graph, self._graph.placeholder("lanes"), self._graph.placeholder("generators"))
        for name, tensor in trace.constants.items():
            if name not in structure.constants:
                self._constants.know(self._values[nodes[name]], tensor)
        self._buffers = {nodes[name] for name in trace.buffers}
        self._parameters = {nodes[name] for name in trace.parameters}
        self._is_double = any(nodes[name].meta["val"].dtype == torch.float64 for name in trace.parameters)
        self._is_pure = not any(_changes_state(node) for node in self._source.nodes)

    def run(self) -> GroupedGraph:
        """Lowers every node."""
        for node in self._source.nodes:
            match node.op:
                case "placeholder":
                    pass
                case "call_function":
                    self._lower_call(node)
                case "output":
                    self._lower_output(node)
                case _:
                    raise NotFusible(f"{node.op} {node.target} has no meaning over lanes")
        self._constants.drop_unused()
        overwrite_operands(self._graph)
        self._graph.lint()
        trace, constants = self._trace, self._structure.constants
        return GroupedGraph(
            GraphModule(self._constants.module, self._graph),
            tuple(trace.parameters.values()),
            tuple(trace.buffers.values()),
            self._shared,
            number_vectors(self._structure),
            tuple(
                torch.stack(constants[name]) if name in constants else tensor
                for name, tensor in trace.constants.items()
            ),
            frozenset(index for index, name in enumerate(trace.constants) if name in constants),
            bool(self._emit.generators.users),
            FusionReport(tuple(self._runs)),
        )

    def _place(self, node: Node, layout: Layout) -> None:
        placeholder = self._graph.placeholder(node.name)
        example = node.meta["val"]
        # A Python number among the inputs is baked into the trace.
        self._values[node] = Value(example, {layout: placeholder}) if isinstance(example, Tensor) else example

    def _lower_call(self, node: Node) -> None:
        target = node.target
        if target is operator.getitem:
            several, index = self._arguments(node)[0]
            self._values[node] = several[index]
            return
        if not isinstance(target, OpOverload):
            raise NotFusible(f"{target} at {location(node) or 'an unknown line'} has no meaning over lanes")
        if target._schema.name.startswith("aten::_assert") or (not node.users and not node.is_impure()):
            return
        if self._padding is not None and node.name not in self._padding.seen:
            raise NotFusible(f"{target} at {location(node) or 'an unknown line'} changes what other views show")
        if target._schema.is_mutable:
            self._lower_in_place(node, target)
        else:
            self._values[node] = self._lower_op(node, target)

    def _lower_op(self, node: Node, op: OpOverload) -> Any:
        args, kwargs = self._arguments(node)
        if self._padding is not None and node.name in self._padding.by_length:
            return self._lower_by_length(node, op, args, kwargs, self._padding)
        is_repeatable = self._is_pure and not draws(op, args, kwargs) and not narrows(node.meta["val"], args)
        key = self._key(op, args, kwargs) if is_repeatable else None
        if key is not None and key in self._computed:
            return self._computed[key]
        known = None if draws(op, args, kwargs) else self._constants.fold(op, args, kwargs, node.meta["val"])
        if known is not None:
            return known
        self._emit.example = node.meta["val"]
        if not all(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(self._emit.example)):
            where = location(node) or "an unknown line"
            raise NotFusible(f"{op} at {where} gives a Python number that depends on data")
        values = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Value)]
        tier, output = self._run_once(op, args, kwargs, values)
        if output is None:
            tier, output = self._run_over_lanes(op, args, kwargs, values)
        self._runs.append(_op_run(node, op, tier))
        if key is not None:
            self._computed[key] = output
        return output

    def _lower_by_length(
        self, node: Node, op: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], padding: Padding
    ) -> Any:
        """Runs a call for the lanes of each length, over their own samples, and puts what they give together."""
        parts = OwnSamples(self._emit, padding, node)
        for length in parts.lengths:
            with parts.of(length, args, kwargs, draws=draws(op, args, kwargs)) as (own_args, own_kwargs):
                values = [leaf for leaf in pytree.tree_leaves((own_args, own_kwargs)) if isinstance(leaf, Value)]
                tier, output = self._run_over_lanes(op, own_args, own_kwargs, values)
                parts.add(output)
        self._runs.append(_op_run(node, op, tier))
        return parts.together()

    def _run_once(
        self, op: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], values: Sequence[Value]
    ) -> tuple[Tier, Any]:
        if draws(op, args, kwargs) or not all(value.is_shared for value in values):
            return Tier.GROUPED, None
        emit = self._emit
        node = emit.call(op, *_forms(args, emit.shared), **_forms(kwargs, emit.shared))
        if isinstance(emit.example, Tensor):
            return Tier.SHARED, Value(emit.example, {Layout.SHARED: node})
        return Tier.SHARED, emit.several(node, Layout.SHARED)

    def _run_over_lanes(
        self, op: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], values: Sequence[Value]
    ) -> tuple[Tier, Any]:
        flat, _ = pytree.tree_flatten((args, kwargs))
        where = tuple(i for i, leaf in enumerate(flat) if isinstance(leaf, Value) and not leaf.is_shared)
        if self._is_double and rounds_by_place(op, args, values, self._emit.example):
            return Tier.UNROLLED, self._unroll(op, flat, where, args, kwargs)
        rule = rule_of(op)
        has_numbers = any(value.is_number for value in values)
        if rule is not None and (not has_numbers or getattr(rule, "takes_numbers", False)):
            output = rule(self._emit, op, *in_schema_order(op, args, kwargs))
            if output is not None:
                return Tier.GROUPED, output
        if not draws(op, args, kwargs) and not has_numbers and can_vmap(op, where, _examples(args), _examples(kwargs)):
            return Tier.VMAPPED, self._outputs(self._emit.call(vmapped, op, where, *self._any_form(args, kwargs)))
        return Tier.UNROLLED, self._unroll(op, flat, where, args, kwargs)

    def _unroll(
        self, op: OpOverload, flat: Sequence[Any], where: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        emit = self._emit
        numbers = tuple(i for i in where if flat[i].is_number)
        tensors = tuple(i for i in where if not flat[i].is_number)
        generators = emit.generators if draws(op, args, kwargs) else None
        forms = self._any_form(args, kwargs)
        return self._outputs(emit.call(unrolled, op, tensors, numbers, emit.lanes, generators, *forms))

    def _any_form(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        emit = self._emit

        def form(value: Value) -> Node:
            return emit.shared(value) if value.is_shared else emit.lane_major(value)

        return _forms(args, form), _forms(kwargs, form)

    def _outputs(self, node: Node) -> Any:
        if isinstance(self._emit.example, Tensor):
            return self._emit.in_lanes(node)
        return self._emit.several(node, Layout.LANES)

    def _lower_in_place(self, node: Node, op: OpOverload) -> None:
        changed = node.args[0]
        if not isinstance(changed, Node):
            raise NotFusible(f"{op} at {location(node) or 'an unknown line'} changes several tensors in place")
        if changed in self._buffers:
            self._lower_buffer_update(node, op, changed)
            return
        if changed in self._parameters:
            raise NotFusible(f"{op} at {location(node) or 'an unknown line'} changes a parameter in place")
        value = self._lower_op(node, functional_form(node, op))
        self._values[node] = self._values[changed] = value

    def _lower_buffer_update(self, node: Node, op: OpOverload, buffer: Node) -> None:
        """Changes the lanes' buffer itself; further forms of it are stale from here on."""
        value = self._values[buffer]
        layout = Layout.SHARED if value.is_shared else Layout.LANES
        stacked = value.forms[layout]
        has_numbers = any(name == node.name for name, _ in self._numbers)
        if torch.Tag.pointwise in op.tags and node.all_input_nodes == [buffer] and not has_numbers:
            self._emit.call(op, stacked, *node.args[1:], **node.kwargs)
            self._runs.append(_op_run(node, op, Tier.GROUPED))
        else:
            self._emit.example = node.meta["val"]
            update = self._lower_op(node, functional_form(node, op))
            self._emit.call(aten.copy_.default, stacked, self._emit.broadcastable(update, buffer.meta["val"].ndim))
        self._values[node] = self._values[buffer] = Value(buffer.meta["val"], {layout: stacked})

    def _arguments(self, node: Node) -> tuple[tuple[Any, ...], dict[str, Any]]:
        flat, spec = pytree.tree_flatten(call_arguments(node))
        given = [self._argument(node, position, leaf) for position, leaf in enumerate(flat)]
        args, kwargs = pytree.tree_unflatten(given, spec)
        return args, kwargs

    def _argument(self, node: Node, position: int, leaf: Any) -> Any:
        if (node.name, position) in self._numbers:
            return self._numbers[node.name, position]
        return self._values[leaf] if isinstance(leaf, Node) else leaf

    def _key(self, op: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Equal for calls that compute the same: metrics often run the model once more."""
        leaves, spec = pytree.tree_flatten((args, dict(kwargs)))
        return op, str(spec), tuple(id(leaf) if isinstance(leaf, Value) else (type(leaf), leaf) for leaf in leaves)

    def _lower_output(self, node: Node) -> None:
        def form(leaf: Any) -> Any:
            value = self._values[leaf] if isinstance(leaf, Node) else leaf
            return self._emit.lane_major(value) if isinstance(value, Value) else value

        self._graph.output([form(leaf) for leaf in pytree.tree_leaves(node.args[0])])


def rule_of(op: OpOverload) -> Any:
    """Gives the lane rule of an op: its own, or the one of all pointwise ops, or None."""
    rules = lane_rules()
    if op in rules:
        return rules[op]
    if torch.Tag.pointwise in op.tags and torch.Tag.nondeterministic_seeded not in op.tags:
        return rules[aten.add.Tensor]
    return None


def in_schema_order(op: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Any]:
    """Gives all arguments of a call whose defaults are spelled out."""
    return [*args, *(kwargs[each.name] for each in op._schema.arguments if each.kwarg_only)]


def draws(op: OpOverload, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call takes random numbers, by arguments whose defaults are spelled out."""
    given = zip((each.name for each in op._schema.arguments), in_schema_order(op, args, kwargs), strict=True)
    return takes_random_numbers(op, dict(given))


def _op_run(node: Node, op: OpOverload, tier: Tier) -> OpRun:
    return OpRun(str(op).removeprefix("aten."), tier, location(node))


def _forms(tree: Any, form: Any) -> Any:
    return pytree.tree_map(lambda leaf: form(leaf) if isinstance(leaf, Value) else leaf, tree)


def _examples(tree: Any) -> Any:
    return pytree.tree_map(lambda leaf: leaf.example if isinstance(leaf, Value) else leaf, tree)


def _changes_state(node: Node) -> bool:
    if node.target in (aten.batch_norm.default, aten.instance_norm.default):
        return bool(node.args[5])
    return isinstance(node.target, OpOverload) and node.target._schema.is_mutable
