"""The programs of lanes that come and go, each thing traced and lowered once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from hydro.tuner.fusion.given_inputs import GivenInputs
from hydro.tuner.fusion.lower import GroupedProgram, NotFusible, lower
from hydro.tuner.fusion.report import FusionReport
from hydro.tuner.fusion.separate import SeparateProgram
from hydro.tuner.hidden_state import stateful_copy
from hydro.tuner.tracing import NotTraceable, Trace, trace

KEPT_FORMS = 32
"""How many forms of inputs have their programs kept; the one used longest ago goes first."""


@dataclass(slots=True)
class _Programs:
    """What was made for one mode and one form of the inputs."""

    traces: dict[int, Trace] = field(default_factory=dict)
    """By configuration."""
    lowered: GroupedProgram | str | None = None
    """For the configurations that there are; a reason where they cannot be fused."""
    of_lanes: GroupedProgram | SeparateProgram | None = None


class LanePrograms:
    """Train and eval programs for lanes of several configurations, for each form of the inputs that occurs.

    Lanes that surely differ in nothing but tensors have one configuration and one trace. The program carries a table of
    the numbers in which configurations differ, so that only one that is new has it lowered again.
    """

    def __init__(self, models: Sequence[nn.Module], example: GivenInputs, shared: Sequence[str]) -> None:
        """Takes the lanes' models; `shared` names parameters without a lane axis."""
        self._example = example
        self._shared = tuple(shared)
        self._compiles = False
        self._configurations: list[nn.Module] = []
        self._rows: list[int] = []
        self._separate: list[nn.Module] = []
        """Where they are not fused: each lane's own, for what it keeps from call to call beside its tensors."""
        self._kept: dict[tuple[bool, Hashable], _Programs] = {}
        for model in models:
            self.insert(model)

    def __len__(self) -> int:
        """The number of lanes."""
        return len(self._rows)

    def program(self, training: bool, given: GivenInputs | None = None) -> GroupedProgram | SeparateProgram:
        """Gives the program of the lanes that there are now, in their order, for inputs of this form.

        A model that cannot be fused with the example's inputs is not tried with others.
        """
        inputs = self._example if given is None else given
        form = (training, inputs.form)
        # The last one is the one used last.
        kept = self._kept[form] = self._kept.pop(form) if form in self._kept else _Programs()
        if len(self._kept) > KEPT_FORMS:
            del self._kept[next(iter(self._kept))]
        if kept.of_lanes is None:
            kept.of_lanes = self._place(kept, training, inputs)
        return kept.of_lanes

    def report(self, training: bool) -> FusionReport:
        """Every op with its tier, of the program used last in this mode; before any call, of the example's."""
        used = [kept for (mode, _), kept in self._kept.items() if mode == training and kept.lowered is not None]
        if not used:
            return self.program(training).report
        return (used[-1].of_lanes or self._place(used[-1], training, self._example)).report

    def take(self, indices: Sequence[int]) -> None:
        """Keeps the lanes with these indices, in this order."""
        self._rows = [self._rows[index] for index in indices]
        self._separate = [self._separate[index] for index in indices] if self._separate else []
        self._lanes_changed()

    def insert(self, model: nn.Module | None) -> None:
        """Adds a lane at the end: configured like this model, or like the last lane."""
        if model is None:
            row = self._rows[-1] if self._rows else 0
        else:
            found = (i for i, known in enumerate(self._configurations) if same_configuration(known, model))
            row = next(found, len(self._configurations))
        if row == len(self._configurations) and model is not None:
            self._configurations.append(model)
            self._lower_again()
        self._rows.append(row)
        if self._separate:
            self._separate.append(stateful_copy(self._configurations[row]))
        self._lanes_changed()

    def compile(self) -> None:
        """Has programs run by torch.compile from here on."""
        self._compiles = True
        self._lower_again()

    def share(self, names: Sequence[str]) -> None:
        """Replaces the names of the parameters without a lane axis."""
        self._shared = tuple(names)
        self._lower_again()

    def _lanes_changed(self) -> None:
        for kept in self._kept.values():
            if len(self._configurations) > 1 or isinstance(kept.of_lanes, SeparateProgram):
                kept.of_lanes = None

    def _lower_again(self) -> None:
        for kept in self._kept.values():
            kept.lowered = kept.of_lanes = None

    def _place(self, kept: _Programs, training: bool, inputs: GivenInputs) -> GroupedProgram | SeparateProgram:
        if kept.lowered is None:
            kept.lowered = self._lower(kept, training, inputs)
        if isinstance(kept.lowered, str):
            if not self._separate:
                self._separate = [stateful_copy(self._configurations[row]) for row in self._rows]
            # Also without lanes the report must say what cannot be fused.
            models = self._separate or self._configurations[:1]
            return SeparateProgram(models, training, kept.lowered, self._shared)
        return kept.lowered if len(self._configurations) == 1 else kept.lowered.of(self._rows)

    def _lower(self, kept: _Programs, training: bool, inputs: GivenInputs) -> GroupedProgram | str:
        example = self._kept.get((training, self._example.form))
        if example is not None and isinstance(example.lowered, str):
            return example.lowered
        args, keywords = inputs.of_one_lane()
        try:
            for row in range(len(kept.traces), len(self._configurations)):
                kept.traces[row] = trace(self._configurations[row], args, train=training, example_keywords=keywords)
            program = lower([*kept.traces.values()], self._shared)
            return program.compiled() if self._compiles else program
        except (NotFusible, NotTraceable) as error:
            return str(error)

    def __getstate__(self) -> dict[str, Any]:
        # Graphs are made again where the copy lives: they hold what cannot be pickled.
        return vars(self) | {"_kept": {}}


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
