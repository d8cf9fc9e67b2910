"""What the grouped twins share: per-lane numbers, per-lane state, and the step.

Legend: T parameters, G lanes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from hydro.optim.columns import Columns
from hydro.optim.grouped_optimizer import LaneOptions, LaneState, MakeOptimizer
from hydro.optim.lane_numbers import Coefficients, LaneNumbers
from hydro.optim.lane_rows import LaneRows, Rows
from hydro.optim.parameter_groups import Parameters, read_groups


class GroupedRule(ABC):
    """A grouped twin: an update rule over [G, ...] tensors with [G, 1, ...] numbers.

    Exact because every operation is elementwise, or reduces one lane's elements, and a lane's numbers meet that lane's
    elements only. Which way a step runs depends on the sizes of one lane, never on how many there are: a lane's bits
    are the same in every bundle.
    """

    numbers: ClassVar[tuple[str, ...]]
    """Names of the numbers; of a pair, such as `betas`, each one."""

    pairs: ClassVar[Mapping[str, tuple[str, ...]]] = {"betas": ("beta1", "beta2")}
    """Options that hold several numbers, and their names."""

    codes: ClassVar[Mapping[str, Mapping[Any, float]]] = {}
    """Options whose values are no numbers, and the numbers that stand for them."""

    scalars: ClassVar[Mapping[str, float]] = {}
    """State that is one number for each parameter and lane, with its value before the first step."""

    keeps_step: ClassVar[bool] = True
    """Whether torch keeps a step count in this optimizer's state."""

    elements_by_lane: ClassVar[int | None] = None
    """Elements of one lane from which on torch's fused kernel, lane by lane, beats the update of all lanes on a CPU."""

    def __init__(self, params: Parameters, defaults: Mapping[str, Any]) -> None:
        """Reads the parameters and their numbers; a group's own options replace the defaults."""
        groups = read_groups(params)
        self._names = [name for name, _, _ in groups]
        self._parameters = [parameter for _, parameter, _ in groups]
        self._numbers = LaneNumbers(self.numbers, self._names, len(self._parameters[0]))
        for name, _, options in groups:
            for number, value in self._read({**defaults, **options}):
                self._numbers.fill(name, number, value)
        self._defaults = {name: value for name, value in self._read(defaults) if isinstance(value, int | float)}
        self._counts, self._uncounted = torch.zeros(len(groups), self.lanes, dtype=torch.float64), 0
        # As torch keeps them: in float32, unless the default is float64.
        scalar = torch.float64 if torch.get_default_dtype() is torch.float64 else torch.float32
        self._scalars = {
            name: torch.full((len(groups), self.lanes), value, dtype=scalar) for name, value in self.scalars.items()
        }
        self._state: dict[str, list[Tensor]] = {}
        self._room: list[Tensor] = []
        self._coefficients: dict[str, Coefficients] = {}
        self._columns: list[Columns] = []
        self._column_rows: list[int] = []
        self.lane_rows = LaneRows()
        self.is_by_lane = self._is_large()
        self.is_double = all(each.dtype is torch.float64 for each in self._parameters)
        """Whether an update does torch's operations in torch's order, for equal bits, rather than fewer of them."""
        self._stale = True

    @property
    def lanes(self) -> int:
        """How many lanes there are."""
        return self._numbers.lanes

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """What it steps, [G, ...] each, by name."""
        return dict(zip(self._names, self._parameters, strict=True))

    @torch.no_grad()
    def step(self, skipped: Sequence[int] = ()) -> None:
        """Updates every parameter that has a gradient, from `.grad`; the skipped lanes stay as they are."""
        given = [parameter.grad for parameter in self._parameters]
        rows = [row for row, gradient in enumerate(given) if gradient is not None]
        if not rows or len(skipped) == self.lanes:
            return
        restore = self._snapshot(list(skipped)) if skipped else None
        if self._stale:
            self._stale = False
            self.lane_rows.forget_numbers()
            self.refresh()
        self.count(rows)
        gradients = [gradient for gradient in given if gradient is not None]
        update = self.update_by_lane if self.is_by_lane else self.update
        update(rows, gradients)
        if restore is not None:
            restore()

    @abstractmethod
    def refresh(self) -> None:
        """Writes the coefficients that follow from the numbers alone; called before a step when any changed."""

    @abstractmethod
    def update(self, rows: Sequence[int], gradients: Sequence[Tensor]) -> None:
        """Updates the parameters in these rows, all lanes at once."""

    def update_by_lane(self, rows: Sequence[int], gradients: Sequence[Tensor]) -> None:
        """Updates the parameters in these rows, one lane after the other; for rules with `elements_by_lane`."""
        raise NotImplementedError

    def count(self, rows: Sequence[int]) -> None:
        """Advances the step counts of the parameters in these rows."""
        if len(rows) == len(self._parameters):
            self._uncounted += 1
        else:
            self._steps[list(rows)] += 1

    def is_counted(self, rows: Sequence[int]) -> Tensor:
        """Says of each parameter whether it is in these rows, [T, 1]."""
        chosen = torch.zeros(len(self._names), 1, dtype=torch.bool)
        chosen[list(rows)] = True
        return chosen

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
        """Keeps the lanes with these indices, in this order. One that comes again is a copy."""
        kept = list(indices)
        self._numbers.take(kept)
        self._steps = self._steps[:, kept]
        self._scalars = {name: table[:, kept] for name, table in self._scalars.items()}
        self._state = {slot: [tensor[kept] for tensor in tensors] for slot, tensors in self._state.items()}
        self._forget_shapes()

    @torch.no_grad()
    def append(self, state: LaneState, options: LaneOptions, make: MakeOptimizer | None = None) -> None:
        """Adds a lane at the end; an empty state is that of an optimizer that has not stepped."""
        for slot in {slot for slots in state.values() for slot in slots} - {"step", *self.scalars}:
            self.slot(slot)
        self._numbers.append(self._defaults)
        self._steps = torch.cat([self._steps, self._steps.new_zeros(len(self._names), 1)], dim=1)
        for name, start in self.scalars.items():
            table = self._scalars[name]
            self._scalars[name] = torch.cat([table, table.new_full((len(table), 1), start)], dim=1)
        for row, name in enumerate(self._names):
            self._append_row(row, state.get(name, {}))
        self._forget_shapes()
        self.set_options(self.lanes - 1, options)

    def rebuild(self, lane: int, options: LaneOptions, make: MakeOptimizer | None = None) -> None:
        """Gives a lane other options as from its first step on; its state stays."""
        self.set_options(lane, {name: {**self._defaults, **options.get(name, {})} for name in self._names})

    def lane_state(self, lane: int) -> dict[str, dict[str, Tensor]]:
        """Gives a copy of a lane's state, in torch's names and shapes."""
        return {name: self._row_state(row, lane) for row, name in enumerate(self._names) if self._steps[row, lane]}

    def slot(self, name: str) -> list[Tensor]:
        """Gives the state tensors of a name, one for each parameter, zeros at first."""
        if name not in self._state:
            self._state[name] = [
                parameter.new_zeros(self.lanes, *self.slot_shape(name, row))
                for row, parameter in enumerate(self._parameters)
            ]
        return self._state[name]

    def room(self, rows: Sequence[int]) -> list[Tensor]:
        """Gives memory for one result of each parameter's shape, kept: to take it anew costs more than most updates."""
        if not self._room:
            self._room = [torch.empty_like(parameter) for parameter in self._parameters]
        return pick(self._room, rows)

    def slot_shape(self, slot: str, row: int) -> Sequence[int]:
        """Gives the shape that torch's state has for one lane: mostly the parameter's."""
        return self._parameters[row].shape[1:]

    def has_slot(self, slot: str, row: int, lane: int) -> bool:
        """Says whether torch would keep this state: what other lanes need exists for all."""
        return True

    def number(self, name: str, row: int, lane: int) -> float:
        """Gives one number as it is now."""
        return float(self._numbers[name][row, lane])

    def write(self, name: str, table: Tensor) -> list[Tensor]:
        """Keeps a table [T, G] as coefficients under a name and gives them, one [G, 1, ...] for each parameter."""
        if name not in self._coefficients:
            self._coefficients[name] = Coefficients(self._parameters)
        return self._coefficients[name].write(table)

    def columns(self, rows: Sequence[int]) -> list[Columns]:
        """Gives the parameters in these rows side by side, apart by dtype and device."""
        if self._column_rows != rows:
            self._column_rows = list(rows)
            kinds: dict[Any, list[int]] = {}
            for row in rows:
                kinds.setdefault((self._parameters[row].dtype, self._parameters[row].device), []).append(row)
            self._columns = [Columns(own, pick(self._parameters, own)) for own in kinds.values()]
        return self._columns

    def forget_ahead(self) -> None:
        """Lets go of what was computed from numbers or step counts that have changed."""
        for columns in self._columns:
            columns.constants = columns.ahead = None

    def slot_in_columns(self, name: str, columns: Columns) -> tuple[Tensor, list[Tensor]]:
        """Gives a slot as [G, P], and each parameter's part of it, which is its slot from now on."""
        if name not in columns.slots:
            tensors = self.slot(name)
            whole, parts = columns.slots[name] = columns.reserve()
            for row, part in zip(columns.rows, parts, strict=True):
                tensors[row] = part.copy_(tensors[row])
        return columns.slots[name]

    def parameters_by_lane(self) -> list[Rows]:
        """Gives each parameter's rows."""
        return self.lane_rows.of("parameters", self._parameters)

    def slot_by_lane(self, name: str) -> list[Rows]:
        """Gives the rows of a slot of each parameter."""
        return self.lane_rows.of(name, self.slot(name))

    @property
    def _steps(self) -> Tensor:
        """Step counts [T, G]; steps of all parameters are added up until somebody looks."""
        if self._uncounted:
            self._counts += self._uncounted
            self._uncounted = 0
        return self._counts

    @_steps.setter
    def _steps(self, counts: Tensor) -> None:
        self._counts, self._uncounted = counts, 0

    def _is_large(self) -> bool:
        fits = all(each.device.type == "cpu" and each.is_contiguous() for each in self._parameters)
        elements = sum(each.shape[1:].numel() for each in self._parameters)
        return fits and self.elements_by_lane is not None and elements >= self.elements_by_lane

    def _snapshot(self, lanes: list[int]) -> Callable[[], None]:
        """Keeps lanes' rows; what it gives writes them back, and zeros into state that has come up since."""
        values = [table[:, lanes] for table in (self._steps, *self._scalars.values())]
        kept = {place: tensor[lanes] for place, tensor in self._tensors().items()}

        def restore() -> None:
            for table, own in zip((self._steps, *self._scalars.values()), values, strict=True):
                table[:, lanes] = own
            for place, tensor in self._tensors().items():
                tensor[lanes] = kept.get(place, torch.zeros_like(tensor[lanes]))
            self.forget_ahead()
            self._stale = True

        return restore

    def _tensors(self) -> dict[tuple[str, int], Tensor]:
        named = {"parameter": self._parameters, **self._state}
        return {(name, row): tensor for name, tensors in named.items() for row, tensor in enumerate(tensors)}

    def _read(self, options: Mapping[str, Any]) -> list[tuple[str, Any]]:
        given = dict(options)
        for name, members in self.pairs.items():
            if name in given:
                given.update(zip(members, given.pop(name), strict=True))
        return [(name, self._coded(name, value)) for name, value in given.items() if name in self.numbers]

    def _coded(self, name: str, value: Any) -> Any:
        if name not in self.codes or isinstance(value, Tensor):
            return value
        if isinstance(value, list | tuple):
            return [self._coded(name, each) for each in value]
        return self.codes[name].get(value, value)

    def _row_state(self, row: int, lane: int) -> dict[str, Tensor]:
        step = {"step": self._steps[row, lane].float()} if self.keeps_step else {}
        scalars = {name: table[row, lane].clone() for name, table in self._scalars.items()}
        slots = {slot: tensors[row][lane].clone() for slot, tensors in self._state.items()}
        return {**step, **scalars, **{slot: own for slot, own in slots.items() if self.has_slot(slot, row, lane)}}

    def _append_row(self, row: int, state: Mapping[str, Any]) -> None:
        self._steps[row, -1] = float(state["step"]) if "step" in state else float(bool(state))
        for name, table in self._scalars.items():
            if name in state:
                table[row, -1] = float(state[name])
        for slot, tensors in self._state.items():
            lane = state[slot].to(tensors[row]) if slot in state else tensors[row].new_zeros(tensors[row].shape[1:])
            tensors[row] = torch.cat([tensors[row], lane[None]])

    def _forget_shapes(self) -> None:
        self._room.clear()
        self._coefficients.clear()
        self._columns.clear()
        self._column_rows.clear()
        self.lane_rows.forget()
        self._stale = True


def pick(tensors: list[Tensor], rows: Sequence[int]) -> list[Tensor]:
    """Gives the tensors in these rows."""
    return tensors if len(rows) == len(tensors) else [tensors[row] for row in rows]
