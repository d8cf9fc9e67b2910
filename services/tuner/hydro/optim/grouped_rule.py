"""What the grouped twins share: parameters in torch's forms, per-lane numbers, per-lane state.

Legend: T parameters, G lanes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hydro.optim.grouped_optimizer import LaneOptions, LaneState
from hydro.optim.lane_numbers import Coefficients, LaneNumbers

Parameters = Mapping[str, Tensor] | Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]
"""Parameters [G, ...] by name, as torch's named pairs, without names (then "0", "1" ...), or in groups with options."""


def read_groups(parameters: Parameters) -> list[tuple[str, Tensor, dict[str, Any]]]:
    """Gives name, parameter and own options of each parameter, for every form torch accepts."""
    entries: list[Any] = list(parameters.items()) if isinstance(parameters, Mapping) else list(parameters)
    groups = entries if entries and isinstance(entries[0], dict) else [{"params": entries}]
    found: list[tuple[str, Tensor, dict[str, Any]]] = []
    for group in groups:
        options = {key: value for key, value in group.items() if key != "params"}
        members = group["params"]
        for member in members.items() if isinstance(members, Mapping) else members:
            name, parameter = member if isinstance(member, tuple) else (str(len(found)), member)
            found.append((name, parameter, options))
    if not found:
        raise ValueError("the optimizer got no parameters")
    return found


class GroupedRule(ABC):
    """A grouped twin: an update rule over lists of [G, ...] tensors with [G, 1, ...] numbers.

    Exact because every operation is elementwise and a lane's numbers meet that lane's elements only.
    """

    numbers: ClassVar[tuple[str, ...]]
    """Names of the numbers; `betas` counts as `beta1` and `beta2`."""

    keeps_step: ClassVar[bool]
    """Whether torch keeps a step count in this optimizer's state."""

    def __init__(self, params: Parameters, defaults: Mapping[str, Any]) -> None:
        """Reads the parameters and their numbers; a group's own options replace the defaults."""
        groups = read_groups(params)
        self._names = [name for name, _, _ in groups]
        self._parameters = [parameter for _, parameter, _ in groups]
        self._numbers = LaneNumbers(self.numbers, self._names, len(self._parameters[0]))
        for name, parameter, options in groups:
            if len(parameter) != self.lanes:
                raise ValueError(f"parameter {name} has {len(parameter)} lanes, the first one has {self.lanes}")
            for number, value in self._read({**defaults, **options}):
                self._numbers.fill(name, number, value)
        self._defaults = {name: value for name, value in self._read(defaults) if isinstance(value, int | float)}
        self._steps = torch.zeros(len(groups), self.lanes, dtype=torch.float64)
        self._state: dict[str, list[Tensor]] = {}
        self._coefficients: dict[str, Coefficients] = {}
        self._stale = True

    @property
    def lanes(self) -> int:
        """How many lanes there are."""
        return self._numbers.lanes

    @torch.no_grad()
    def step(self) -> None:
        """Updates every parameter that has a gradient, from `.grad`."""
        rows = [row for row, parameter in enumerate(self._parameters) if parameter.grad is not None]
        if not rows:
            return
        if self._stale:
            self._stale = False
            self.refresh()
        self.count(rows)
        gradients = [gradient for parameter in self._parameters if (gradient := parameter.grad) is not None]
        self.update(rows, gradients)

    @abstractmethod
    def refresh(self) -> None:
        """Writes the coefficients that follow from the numbers alone; called before a step when any changed."""

    @abstractmethod
    def update(self, rows: Sequence[int], gradients: Sequence[Tensor]) -> None:
        """Updates the parameters in these rows."""

    def count(self, rows: Sequence[int]) -> None:
        """Advances the step counts of the parameters in these rows."""
        if len(rows) == len(self._parameters):
            self._steps += 1
        else:
            self._steps[list(rows)] += 1

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    def set_options(self, lane: int, options: LaneOptions) -> None:
        """Replaces the named options of a lane, for the next steps; options and parameters not named stay."""
        for parameter, given in options.items():
            for number, value in self._read(given):
                self._stale |= self._numbers.set(parameter, lane, number, value)

    def set_number(self, number: str, values: Tensor) -> None:
        """Replaces one number of all lanes at once; `values` is [G] or [T, G]."""
        self._numbers.assign(number, values)
        self._stale = True

    @torch.no_grad()
    def take(self, indices: Sequence[int]) -> None:
        """Keeps the lanes with these indices, in this order."""
        kept = list(indices)
        self._numbers.take(kept)
        self._steps = self._steps[:, kept]
        self._state = {slot: [tensor[kept] for tensor in tensors] for slot, tensors in self._state.items()}
        self._forget_shapes()

    @torch.no_grad()
    def append(self, state: LaneState, options: LaneOptions) -> None:
        """Adds a lane at the end; an empty state is that of an optimizer that has not stepped."""
        for slot in {slot for slots in state.values() for slot in slots} - {"step"}:
            self.slot(slot)
        self._numbers.append(self._defaults)
        self._steps = torch.cat([self._steps, self._steps.new_zeros(len(self._names), 1)], dim=1)
        for row, name in enumerate(self._names):
            self._append_row(row, state.get(name, {}))
        self._forget_shapes()
        self.set_options(self.lanes - 1, options)

    def lane_state(self, lane: int) -> dict[str, dict[str, Tensor]]:
        """Gives a copy of a lane's state, in torch's names and shapes."""
        return {name: self._row_state(row, lane) for row, name in enumerate(self._names) if self._steps[row, lane]}

    def slot(self, name: str) -> list[Tensor]:
        """Gives the state tensors of a name, zeros at first."""
        if name not in self._state:
            self._state[name] = [p.new_zeros(self.lanes, *p.shape[1:]) for p in self._parameters]
        return self._state[name]

    def write(self, name: str, table: Tensor) -> list[Tensor]:
        """Keeps a table [T, G] as coefficients under a name and gives them, one [G, 1, ...] for each parameter."""
        if name not in self._coefficients:
            self._coefficients[name] = Coefficients(self._parameters)
        return self._coefficients[name].write(table)

    def _read(self, options: Mapping[str, Any]) -> list[tuple[str, Any]]:
        given = dict(options)
        if "betas" in given:
            given["beta1"], given["beta2"] = given.pop("betas")
        return [(name, value) for name, value in given.items() if name in self.numbers]

    def _row_state(self, row: int, lane: int) -> dict[str, Tensor]:
        slots = {slot: tensors[row][lane].clone() for slot, tensors in self._state.items()}
        return {"step": self._steps[row, lane].float(), **slots} if self.keeps_step else slots

    def _append_row(self, row: int, state: Mapping[str, Tensor]) -> None:
        self._steps[row, -1] = float(state["step"]) if "step" in state else float(bool(state))
        for slot, tensors in self._state.items():
            lane = state[slot].to(tensors[row]) if slot in state else tensors[row].new_zeros(tensors[row].shape[1:])
            tensors[row] = torch.cat([tensors[row], lane[None]])

    def _forget_shapes(self) -> None:
        self._coefficients.clear()
        self._stale = True


def pick(tensors: list[Tensor], rows: Sequence[int]) -> list[Tensor]:
    """Gives the tensors in these rows."""
    return tensors if len(rows) == len(tensors) else [tensors[row] for row in rows]
