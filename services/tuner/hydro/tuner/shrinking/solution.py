"""A model's surrogate as data: shapes, classes, ratios and initial values of every tensor."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from torch import nn

from hydro.tuner.shrinking.classification import Classified, TensorClass
from hydro.tuner.shrinking.depth import Stack
from hydro.tuner.shrinking.initial_values import Distribution, InitialValues
from hydro.tuner.shrinking.parametrization import Parametrization
from hydro.tuner.shrinking.rule_table import MUP

RULES_VERSION = 2
"""Raised when the same model and width would give another surrogate: sizes, classes, the table."""


@dataclass(frozen=True, slots=True)
class TensorSolution:
    """One parameter or buffer."""

    name: str
    is_parameter: bool
    target_shape: tuple[int, ...]
    shape: tuple[int, ...]
    classified: Classified
    initial: InitialValues
    kept: tuple[str, ...] = ()
    """For each axis why it keeps its size, "" where it does not."""
    aliases: tuple[str, ...] = ()
    """Further names of the same tensor."""


@dataclass(frozen=True)
class Solution:
    """Every tensor of the surrogate. What it was solved from is in the graph; this is what workers need of it."""

    width: float
    multiplied_readout: bool
    tensors: tuple[TensorSolution, ...]
    unknown_ops: tuple[str, ...] = ()
    rules_version: int = RULES_VERSION
    feature_learning: float = MUP
    """The parametrization's p (see `rule_table`)."""
    depth: float = 1.0
    """Layers over the target's, as asked for."""
    stacks: tuple[Stack, ...] = ()
    """What was cut; the tensors are those of the target that has been cut."""
    untraced: str = ""
    """Why there is no graph: the tensors are then the factory's, classified by their shapes (see `by_shapes`)."""

    @cached_property
    def by_name(self) -> Mapping[str, TensorSolution]:
        """Tensors by their first name."""
        return {each.name: each for each in self.tensors}

    @cached_property
    def parametrization(self) -> Parametrization:
        """The factors of every parameter."""
        named = {name: each for each in self.tensors if each.is_parameter for name in (each.name, *each.aliases)}
        return Parametrization(
            {name: each.classified for name, each in named.items()},
            {name: (each.target_shape, each.shape) for name, each in named.items()},
            self.feature_learning,
            {name: stack.multiplier for stack in self.stacks for name in named if stack.holds(name)},
        )

    @property
    def parameters(self) -> int:
        """How many numbers the surrogate trains."""
        return sum(math.prod(each.shape) for each in self.tensors if each.is_parameter)

    @property
    def target_parameters(self) -> int:
        """How many numbers the target trains."""
        return sum(math.prod(each.target_shape) for each in self.tensors if each.is_parameter)

    def fits(
        self,
        model: nn.Module,
        width: float,
        *,
        depth: float = 1.0,
        stacks: tuple[Stack, ...] = (),
        multiplied_readout: bool,
        feature_learning: float = MUP,
    ) -> bool:
        """The solution is of this model: same names, same shapes, same width and depth, same rules."""
        asked = (width, depth, stacks, multiplied_readout, feature_learning, RULES_VERSION)
        own = (
            self.width, self.depth, self.stacks, self.multiplied_readout, self.feature_learning, self.rules_version,
        )  # fmt: skip
        return own == asked and self.is_of(model)

    def is_of(self, model: nn.Module) -> bool:
        """The model has these parameters and buffers, and no others."""
        return {each.name: each.target_shape for each in self.tensors} == target_shapes(model)

    def to_json(self) -> str:
        """The solution as text: the surrogate's artifact."""
        return json.dumps(asdict(self), default=lambda value: value.value, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Solution:
        """The solution that `to_json` wrote."""
        fields = json.loads(text)
        tensors = tuple(_tensor_from(each) for each in fields.pop("tensors"))
        stacks = tuple(Stack(**each) for each in fields.pop("stacks", ()))
        return cls(tensors=tensors, unknown_ops=tuple(fields.pop("unknown_ops")), stacks=stacks, **fields)


def target_shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Shapes of all parameters and buffers, tied ones under their first name."""
    return {name: tuple(each.shape) for name, each in [*model.named_parameters(), *model.named_buffers()]}


def _tensor_from(fields: Mapping[str, Any]) -> TensorSolution:
    classified, initial = fields["classified"], fields["initial"]
    return TensorSolution(
        name=fields["name"],
        is_parameter=fields["is_parameter"],
        target_shape=tuple(fields["target_shape"]),
        shape=tuple(fields["shape"]),
        classified=Classified(
            TensorClass(classified["tensor_class"]),
            classified["fan_in_ratio"],
            classified["fan_out_ratio"],
            classified["reason"],
        ),
        initial=InitialValues(Distribution(initial["distribution"]), initial["mean"], initial["std"]),
        kept=tuple(fields["kept"]),
        aliases=tuple(fields["aliases"]),
    )
