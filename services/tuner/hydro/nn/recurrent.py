"""Recurrent layers and cells over lanes, all lanes in each product.

Legend: G lanes, N batch, L length, I input and H hidden features, S layers times directions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hydro.nn import recurrence
from hydro.nn.lane_module import LaneModule

_RUNS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "LSTM": recurrence.lstm,
    "GRU": recurrence.gru,
    "RNN_TANH": recurrence.rnn_tanh,
    "RNN_RELU": recurrence.rnn_relu,
}


class _Layers(LaneModule):
    """Layers of cells; `generators` may be given a random stream for each lane, from which dropout then draws."""

    generators: Sequence[torch.Generator] | None = None

    def forward(self, input: Tensor, hx: Any = None) -> tuple[Tensor, Any]:
        """Runs over the sequence.

        Shape: input [G, L, N, I], or [G, N, L, I] with `batch_first`, or [G, L, I]; states [G, S, N, H], or [G, S, H].
        """
        if not isinstance(input, Tensor):
            raise NotImplementedError(f"a {type(input).__name__} has no form over lanes: give a padded tensor")
        batch_axis = 1 if self.batch_first else 2
        is_single = input.ndim == 3
        x = input.unsqueeze(batch_axis) if is_single else input
        states = self._states(hx, x, x.shape[batch_axis], is_single)
        dropout = self.dropout if self.training else 0.0
        layers = recurrence.Layers(self.num_layers, self.bias, self.bidirectional, self.batch_first, dropout)
        y, *last = _RUNS[self.mode](x, states, list(self.parameters()), layers, self.generators)
        if is_single:
            y, last = y.squeeze(batch_axis), [state.squeeze(2) for state in last]
        return y, tuple(last) if len(last) > 1 else last[0]

    def _states(self, hx: Any, x: Tensor, samples: int, is_single: bool) -> list[Tensor]:
        if hx is not None:
            given = [hx] if isinstance(hx, Tensor) else list(hx)
            return [state.unsqueeze(2) for state in given] if is_single else given
        rows = self.num_layers * (2 if self.bidirectional else 1)
        sizes = [self.proj_size or self.hidden_size, self.hidden_size][: 2 if self.mode == "LSTM" else 1]
        return [x.new_zeros(self.lanes, rows, samples, size) for size in sizes]


class LSTM(_Layers):
    """torch.nn.LSTM over lanes."""

    twin_of = nn.LSTM


class GRU(_Layers):
    """torch.nn.GRU over lanes."""

    twin_of = nn.GRU


class RNN(_Layers):
    """torch.nn.RNN over lanes."""

    twin_of = nn.RNN


class _Cell(LaneModule):
    """One step of one layer."""

    _MODE: str

    def forward(self, input: Tensor, hx: Any = None) -> Any:
        """Gives the next state.

        Shape: input [G, N, I], or [G, I]; states [G, N, H], or [G, H].
        """
        is_single = input.ndim == 2
        x = input.unsqueeze(1) if is_single else input
        count = 2 if self._MODE == "LSTM" else 1
        given = (
            [x.new_zeros(*x.shape[:2], self.hidden_size)] * count if hx is None else [hx] if count == 1 else list(hx)
        )
        states = [(state.unsqueeze(1) if is_single and hx is not None else state).unsqueeze(1) for state in given]
        layers = recurrence.Layers(1, self.bias, False, False, 0.0)
        _, *last = _RUNS[self._mode()](x.unsqueeze(1), states, list(self.parameters()), layers, None)
        rows = [state.squeeze(1).squeeze(1) if is_single else state.squeeze(1) for state in last]
        return tuple(rows) if count > 1 else rows[0]

    def _mode(self) -> str:
        return self._MODE


class LSTMCell(_Cell):
    """torch.nn.LSTMCell over lanes."""

    twin_of = nn.LSTMCell
    _MODE = "LSTM"


class GRUCell(_Cell):
    """torch.nn.GRUCell over lanes."""

    twin_of = nn.GRUCell
    _MODE = "GRU"


class RNNCell(_Cell):
    """torch.nn.RNNCell over lanes."""

    twin_of = nn.RNNCell
    _MODE = "RNN"

    def _mode(self) -> str:
        return f"RNN_{self.nonlinearity.upper()}"
