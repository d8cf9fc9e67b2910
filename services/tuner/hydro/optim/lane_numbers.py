"""Optimizer numbers that differ among lanes.

Legend: T parameters, G lanes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Number = float | Sequence[float] | Tensor
"""One value for all lanes, or one per lane."""


class LaneNumbers:
    """A table [T, G] for each number's name.

    Kept as Python floats, so that reading a schedule costs one comparison per number; a table becomes a tensor again
    only after a change.
    """

    def __init__(self, names: Iterable[str], parameters: Sequence[str], lanes: int) -> None:
        """Starts with zeros."""
        self._rows = {name: row for row, name in enumerate(parameters)}
        self._values = {name: [[0.0] * lanes for _ in parameters] for name in names}
        self._tables: dict[str, Tensor] = {}
        self.lanes = lanes

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def __getitem__(self, name: str) -> Tensor:
        """Gives the table as float64."""
        if name not in self._tables:
            self._tables[name] = torch.tensor(self._values[name], dtype=torch.float64)
        return self._tables[name]

    def fill(self, parameter: str, name: str, value: Number) -> None:
        """Sets a number of one parameter, for all lanes or with a value for each."""
        given = value.tolist() if isinstance(value, Tensor) else value
        values = [float(one) for one in given] if isinstance(given, Sequence) else [float(given)] * self.lanes
        if len(values) != self.lanes:
            raise ValueError(f"{name} has {len(values)} values for {self.lanes} lanes: give one, or one per lane")
        self._values[name][self._rows[parameter]] = values
        self._tables.pop(name, None)

    def assign(self, name: str, values: Tensor) -> None:
        """Sets a number of all parameters; `values` is [G] or [T, G]."""
        self._values[name] = values.double().expand(len(self._rows), self.lanes).tolist()
        self._tables.pop(name, None)

    def set(self, parameter: str, lane: int, name: str, value: float) -> bool:
        """Sets a number of one parameter and lane and says whether it changed."""
        row = self._values[name][self._rows[parameter]]
        if row[lane] == value:
            return False
        row[lane] = float(value)
        self._tables.pop(name, None)
        return True

    def parts(self, rows: Sequence[int]) -> Iterator[tuple[int, tuple[float, ...], list[int]]]:
        """Gives each lane with its numbers, in the order of the names, and those of these rows that have them."""
        tables = list(self._values.values())
        # A schedule writes anew at each step, and most rows are alike in every lane: they are compared once for all.
        alike: dict[tuple[tuple[float, ...], ...], list[int]] = {}
        for row in rows:
            alike.setdefault(tuple(tuple(table[row]) for table in tables), []).append(row)
        for lane in range(self.lanes):
            own: dict[tuple[float, ...], list[int]] = {}
            for values, members in alike.items():
                own.setdefault(tuple(value[lane] for value in values), []).extend(members)
            for numbers, members in own.items():
                yield lane, numbers, sorted(members)

    def take(self, indices: Sequence[int]) -> None:
        """Keeps the lanes with these indices, in this order."""
        for rows in self._values.values():
            rows[:] = [[row[index] for index in indices] for row in rows]
        self.lanes = len(indices)
        self._tables.clear()

    def append(self, values: Mapping[str, float]) -> None:
        """Adds a lane at the end, with these numbers for every parameter; the others are 0."""
        for name, rows in self._values.items():
            for row in rows:
                row.append(float(values.get(name, 0.0)))
        self.lanes += 1
        self._tables.clear()


class Coefficients:
    """A table [T, G] as one view [G, 1, ...] for each parameter, in its dtype and on its device."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        """Reserves room; `write` fills it."""
        self._buffers: dict[Any, Tensor] = {}
        self._views: list[Tensor] = []
        for row, parameter in enumerate(parameters):
            key = (parameter.dtype, parameter.device)
            if key not in self._buffers:
                self._buffers[key] = torch.zeros(
                    len(parameters), len(parameter), dtype=parameter.dtype, device=parameter.device
                )
            lane_shape = (len(parameter),) + (1,) * (parameter.ndim - 1)
            self._views.append(self._buffers[key][row].view(lane_shape))

    def write(self, table: Tensor) -> list[Tensor]:
        """Fills the views with a table's rows and gives them."""
        for buffer in self._buffers.values():
            buffer.copy_(table)
        return self._views
