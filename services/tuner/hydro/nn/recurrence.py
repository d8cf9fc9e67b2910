"""Recurrent layers over lanes: the cells of torch.nn, all lanes in each product.

Legend: G lanes, L length, N batch, I input features, H hidden features, S gates times hidden features, D output
features of a layer.
Source: aten/src/ATen/native/RNN.cpp.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from hydro.nn import functional
from hydro.nn.whole_vectors import fills_vectors, in_whole_vectors

State = tuple[Tensor, ...]
"""Hidden state, and the cell state of an LSTM: [G, N, H] each."""

Cell = Callable[[Tensor, State, Callable[[Tensor], Tensor]], State]
"""From a step's input [G, N, S], the state and the hidden state's linear map to the next state."""


@dataclass(frozen=True, slots=True)
class Layers:
    """How a recurrent module's layers are put together, as its ATen op says it."""

    count: int
    has_biases: bool
    is_bidirectional: bool
    is_batch_first: bool
    dropout: float | Tensor
    """Between layers; 0 in eval mode."""

    @property
    def directions(self) -> int:
        """One, or two."""
        return 2 if self.is_bidirectional else 1


def lstm(
    x: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    layers: Layers,
    generators: Sequence[torch.Generator] | None,
) -> tuple[Tensor, ...]:
    """Runs torch.nn.LSTM over lanes, with a projection where the states' sizes differ.

    Shape: `x` [G, L, N, I], or [G, N, L, I] batch first; states [G, layers * directions, N, H]; `weights` as in torch,
    with the lane axis first. Gives the output, and the states after the last step.
    """
    projects = states[0].shape[-1] != states[1].shape[-1]
    return _run(_lstm_cell, x, states, weights, layers, generators, projects=projects)


def gru(
    x: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    layers: Layers,
    generators: Sequence[torch.Generator] | None,
) -> tuple[Tensor, ...]:
    """Runs torch.nn.GRU over lanes; shapes as in `lstm`, with one state."""
    return _run(_gru_cell, x, states, weights, layers, generators)


def rnn_tanh(
    x: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    layers: Layers,
    generators: Sequence[torch.Generator] | None,
) -> tuple[Tensor, ...]:
    """Runs torch.nn.RNN over lanes; shapes as in `lstm`, with one state."""
    return _run(partial(_simple_cell, _tanh), x, states, weights, layers, generators)


def rnn_relu(
    x: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    layers: Layers,
    generators: Sequence[torch.Generator] | None,
) -> tuple[Tensor, ...]:
    """Runs torch.nn.RNN with `nonlinearity="relu"` over lanes; shapes as in `lstm`, with one state."""
    return _run(partial(_simple_cell, torch.relu), x, states, weights, layers, generators)


def _run(
    cell: Cell,
    x: Tensor,
    states: Sequence[Tensor],
    weights: Sequence[Tensor],
    layers: Layers,
    generators: Sequence[torch.Generator] | None,
    *,
    projects: bool = False,
) -> tuple[Tensor, ...]:
    per_direction = 2 + 2 * layers.has_biases + projects
    own_weights = [weights[start : start + per_direction] for start in range(0, len(weights), per_direction)]
    own_states = list(zip(*(state.unbind(1) for state in states), strict=True))
    y_GLND = x.transpose(1, 2) if layers.is_batch_first else x
    last: list[State] = []
    for layer in range(layers.count):
        outputs = []
        for direction in range(layers.directions):
            index = layer * layers.directions + direction
            output, state = _run_direction(
                cell, y_GLND, own_states[index], own_weights[index], layers.has_biases, projects, reverse=direction == 1
            )
            outputs.append(output)
            last.append(state)
        y_GLND = torch.cat(outputs, -1) if len(outputs) > 1 else outputs[0]
        if layer < layers.count - 1 and not (isinstance(layers.dropout, float | int) and layers.dropout == 0):
            y_GLND = functional.dropout(y_GLND, layers.dropout, generators)
    y = y_GLND.transpose(1, 2) if layers.is_batch_first else y_GLND
    return (y, *(torch.stack(each, 1) for each in zip(*last, strict=True)))


def _run_direction(
    cell: Cell,
    x_GLNI: Tensor,
    state: State,
    weights: Sequence[Tensor],
    has_biases: bool,
    projects: bool,
    *,
    reverse: bool,
) -> tuple[Tensor, State]:
    by_input, by_hidden, *biases = weights
    input_bias, hidden_bias = biases[:2] if has_biases else (None, None)
    steps = functional.linear(x_GLNI, by_input, input_bias).unbind(1)
    hidden_map = partial(functional.linear, weight_GMK=by_hidden, bias_GM=hidden_bias)
    outputs = []
    for step in reversed(steps) if reverse else steps:
        state = cell(step, state, hidden_map)
        if projects:
            state = (functional.linear(state[0], weights[-1]), *state[1:])
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if reverse else outputs, 1), state


def _lstm_cell(step_GNS: Tensor, state: State, hidden_map: Callable[[Tensor], Tensor]) -> State:
    hidden_GNH, cell_GNH = state
    enter, keep, update, leave = (step_GNS + hidden_map(hidden_GNH)).chunk(4, -1)
    cell_GNH = _sigmoid(keep) * cell_GNH + _sigmoid(enter) * _tanh(update)
    return _sigmoid(leave) * _tanh(cell_GNH), cell_GNH


def _gru_cell(step_GNS: Tensor, state: State, hidden_map: Callable[[Tensor], Tensor]) -> State:
    (hidden_GNH,) = state
    reset, keep, update = step_GNS.chunk(3, -1)
    own_reset, own_keep, own_update = hidden_map(hidden_GNH).chunk(3, -1)
    updated_GNH = _tanh(update + _sigmoid(reset + own_reset) * own_update)
    return ((hidden_GNH - updated_GNH) * _sigmoid(keep + own_keep) + updated_GNH,)


def _simple_cell(
    activation: Callable[[Tensor], Tensor],
    step_GNS: Tensor,
    state: State,
    hidden_map: Callable[[Tensor], Tensor],
) -> State:
    return (activation(step_GNS + hidden_map(state[0])),)


def _sigmoid(x_GNH: Tensor) -> Tensor:
    return _approximated(torch.sigmoid, x_GNH)


def _tanh(x_GNH: Tensor) -> Tensor:
    return _approximated(torch.tanh, x_GNH)


def _approximated(function: Callable[[Tensor], Tensor], x_GNH: Tensor) -> Tensor:
    lanes, *shape = x_GNH.shape
    if not x_GNH.is_cpu or fills_vectors(x_GNH[0].numel(), x_GNH.itemsize):
        return function(x_GNH)
    return in_whole_vectors(function, lanes, tuple(shape), x_GNH)
