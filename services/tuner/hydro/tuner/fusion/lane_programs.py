"""The programs of lanes that come and go, each thing traced and lowered once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from hydro.tuner.fusion.lower import GroupedProgram, NotFusible, lower
from hydro.tuner.fusion.separate import SeparateProgram
from hydro.tuner.tracing import NotTraceable, Trace, trace


class LanePrograms:
    """Train and eval programs for lanes of several configurations.

    Lanes that surely differ in nothing but tensors have one configuration and one trace. The program carries a table of
    the numbers in which configurations differ, so that only one that is new has it lowered again.
    """

    def __init__(self, models: Sequence[nn.Module], example_inputs: tuple[Any, ...], shared: Sequence[str]) -> None:
        """Takes the lanes' models; `shared` names parameters without a lane axis."""
        self._example_inputs = example_inputs
        self._shared = tuple(shared)
        self._configurations: list[nn.Module] = []
        self._rows: list[int] = []
        self._traces: dict[tuple[int, bool], Trace] = {}
        self._programs: dict[bool, GroupedProgram | str] = {}
        self._of_lanes: dict[bool, GroupedProgram | SeparateProgram] = {}
        for model in models:
            self.insert(model)

    def __len__(self) -> int:
        """The number of lanes."""
        return len(self._rows)

    def program(self, training: bool) -> GroupedProgram | SeparateProgram:
        """Gives the program of the lanes that there are now, in their order."""
        if training not in self._of_lanes:
            self._of_lanes[training] = self._place(training)
        return self._of_lanes[training]

    def take(self, indices: Sequence[int]) -> None:
        """Keeps the lanes with these indices, in this order."""
        self._rows = [self._rows[index] for index in indices]
        if len(self._configurations) > 1:
            self._of_lanes.clear()

    def insert(self, model: nn.Module | None) -> None:
        """Adds a lane at the end: configured like this model, or like the last lane."""
        if model is None:
            row = self._rows[-1] if self._rows else 0
        else:
            found = (i for i, known in enumerate(self._configurations) if same_configuration(known, model))
            row = next(found, len(self._configurations))
        if row == len(self._configurations) and model is not None:
            self._configurations.append(model)
            self._programs.clear()
        self._rows.append(row)
        if len(self._configurations) > 1:
            self._of_lanes.clear()

    def share(self, names: Sequence[str]) -> None:
        """Replaces the names of the parameters without a lane axis."""
        self._shared = tuple(names)
        self._programs.clear()
        self._of_lanes.clear()

    def _place(self, training: bool) -> GroupedProgram | SeparateProgram:
        if training not in self._programs:
            self._programs[training] = self._lower(training)
        program = self._programs[training]
        if isinstance(program, str):
            # Also without lanes the report must say what cannot be fused.
            models = [self._configurations[row] for row in self._rows] or self._configurations[:1]
            return SeparateProgram(models, training, program, self._shared)
        return program if len(self._configurations) == 1 else program.of(self._rows)

    def _lower(self, training: bool) -> GroupedProgram | str:
        try:
            return lower([self._trace(row, training) for row in range(len(self._configurations))], self._shared)
        except (NotFusible, NotTraceable) as error:
            return str(error)

    def _trace(self, row: int, training: bool) -> Trace:
        if (row, training) not in self._traces:
            self._traces[row, training] = trace(self._configurations[row], self._example_inputs, train=training)
        return self._traces[row, training]

    def __getstate__(self) -> dict[str, Any]:
        # Graphs are made again where the copy lives: they hold what cannot be pickled.
        return vars(self) | {"_traces": {}, "_programs": {}, "_of_lanes": {}}


def same_configuration(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules surely differ in nothing but tensors: equal classes with equal plain attributes."""
    if one is other:
        return True
    pairs = zip(one.named_modules(), other.named_modules(), strict=False)
    if len(list(one.modules())) != len(list(other.modules())):
        return False
    return all(name == other_name and _same_attributes(a, b) for (name, a), (other_name, b) in pairs)


def _same_attributes(one: nn.Module, other: nn.Module) -> bool:
    mine, others = (
        {key: value for key, value in vars(module).items() if not key.startswith("_") and key != "training"}
        for module in (one, other)
    )
    return (
        type(one) is type(other) and mine.keys() == others.keys() and all(map(_equal, mine.values(), others.values()))
    )


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    plain = (bool, int, float, str, type(None), tuple, list, dict)
    return isinstance(one, plain) and type(one) is type(other) and repr(one) == repr(other)
