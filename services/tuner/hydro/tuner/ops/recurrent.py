"""Recurrent layers: what they do to dimensions, and how they run over lanes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch._ops import OpOverload
from torch.fx import Node

from hydro.nn import recurrence
from hydro.tuner.fusion.emitter import Emitter
from hydro.tuner.fusion.layout import Layout, Value
from hydro.tuner.ops.registry import dimension_rule, lane_rule, takes_numbers
from hydro.tuner.shrinking.dimensions import Dim, Dims
from hydro.tuner.shrinking.propagation import Call

aten = torch.ops.aten


@dimension_rule(aten.gru.input)
def gru(call: Call) -> tuple[Dims, ...]:
    """Weights [3 gates][hidden] by input and by hidden."""
    outputs, states = _run(call, 3, [call["hx"]])
    return outputs, states[0]


@dimension_rule(aten.lstm.input)
def lstm(call: Call) -> tuple[Dims, ...]:
    """Weights [4 gates][hidden] by input and by hidden; hidden and cell states."""
    outputs, states = _run(call, 4, call["hx"])
    return outputs, *states


@dimension_rule(aten.rnn_tanh.input, aten.rnn_relu.input)
def rnn(call: Call) -> tuple[Dims, ...]:
    """Weights [hidden] by input and by hidden."""
    outputs, states = _run(call, 1, [call["hx"]])
    return outputs, states[0]


def _run(call: Call, gates: int, states: Sequence[Node]) -> tuple[Dims, list[Dims]]:
    """The first state is what a layer gives, the last one what it keeps: other sizes where a projection is between."""
    inputs, given, kept = call.dims("input"), *(call.dims_of(states[place])[-1] for place in (0, -1))
    parameters, directions = call["params"], 2 if call["bidirectional"] else 1
    per_direction = len(parameters) // (int(call["num_layers"]) * directions)
    both = call.new(directions, pinned=True) + given
    for start in range(0, len(parameters), per_direction):
        below = inputs[-1] if start < directions * per_direction else both
        _meet(call, parameters[start : start + per_direction], gates, below, given, kept)
    return (*inputs[:-1], both), [call.dims_of(state) for state in states]


def _meet(call: Call, parameters: Sequence[Node], gates: int, below: Dim, given: Dim, kept: Dim) -> None:
    """By input, by state, their biases [gates][kept] each; and a projection [given, kept]."""
    gated = parameters[: 4 if call["has_biases"] else 2]
    for parameter in gated:
        count, size = call.dimensions.divide(call.dims_of(parameter)[0], (gates, call.size(kept)))
        call.pin(count)
        call.unify(size, kept)
    contracted = [(gated[0], below), (gated[1], given)]
    for projection in parameters[len(gated) :]:
        call.unify(call.dims_of(projection)[0], given)
        contracted.append((projection, kept))
    for parameter, fan_in in contracted:
        call.unify(call.dims_of(parameter)[1], fan_in)
        call.contract(parameter, fan_in)


@takes_numbers
@lane_rule(aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input)
def recurrent_lanes(
    emit: Emitter, op: OpOverload, x: Value, states: Value | Sequence[Value], weights: Sequence[Value],
    has_biases: bool, count: int, dropout: float | Value, train: bool, bidirectional: bool, batch_first: bool,
) -> list[Value]:  # fmt: skip
    """Exact: a lane's gates are products of its own rows and columns; it drops from its own stream between layers."""
    run = _LAYERS[op]
    own_states = [emit.lane_major(each) for each in ([states] if isinstance(states, Value) else states)]
    probability = 0.0 if not train else emit.lane_major(dropout) if isinstance(dropout, Value) else dropout
    layers = emit.call(recurrence.Layers, count, has_biases, bidirectional, batch_first, probability)
    own_weights = [emit.lane_major(each) for each in weights]
    return emit.several(
        emit.call(run, emit.lane_major(x), own_states, own_weights, layers, emit.generators), Layout.LANES
    )


_LAYERS = {
    aten.lstm.input: recurrence.lstm,
    aten.gru.input: recurrence.gru,
    aten.rnn_tanh.input: recurrence.rnn_tanh,
    aten.rnn_relu.input: recurrence.rnn_relu,
}
