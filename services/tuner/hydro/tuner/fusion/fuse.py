"""Fuses ordinary models: `fuse(models, example_inputs)` runs them as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hydro.tuner.fusion.lanes import LaneTensors, lane_tensors
from hydro.tuner.fusion.lower import GroupedProgram, NotFusible, lower
from hydro.tuner.fusion.report import FusionReport
from hydro.tuner.fusion.separate import SeparateProgram
from hydro.tuner.tracing import NotTraceable, trace


def fuse(models: Sequence[nn.Module], example_inputs: tuple[Any, ...]) -> GroupedModel:
    """Makes one model of many that share a structure and differ in weights, and in numbers such as a dropout's.

    Args:
        models: Ordinary modules; they are copied from and stay as they are.
        example_inputs: Arguments of one of them; the fused model takes inputs of these shapes.

    Raises:
        ValueError: The models have different tensors.
    """
    if not models:
        raise ValueError("fuse got no models")
    return GroupedModel(models, example_inputs)


class GroupedModel:
    """Many models as one; every tensor it gives has a leading lane axis.

    In train mode, random ops draw lane after lane from `generators`, if given, each as the model alone would from
    torch's default generator.
    """

    def __init__(self, models: Sequence[nn.Module], example_inputs: tuple[Any, ...]) -> None:
        """Stacks the models' tensors and lowers their program for the mode the first one is in."""
        self._lanes: list[nn.Module] = list(models)
        self._example_inputs = example_inputs
        self._tensors = LaneTensors(models)
        self._programs: dict[bool, GroupedProgram | SeparateProgram] = {}
        self.training = models[0].training
        self.generators: Sequence[torch.Generator] | None = None
        self._program()

    def __call__(self, *inputs: Any, lane_inputs: bool = False, **keywords: Any) -> Any:
        """Runs all lanes.

        Args:
            *inputs: The model's arguments, shared by all lanes.
            lane_inputs: Whether every input tensor carries the lane axis itself.
            **keywords: The model's keyword arguments.
        """
        return self._program()(
            self._tensors.parameters,
            self._tensors.buffers,
            inputs,
            lane_inputs=lane_inputs,
            generators=self.generators,
            keywords=keywords,
        )

    def __len__(self) -> int:
        """The number of lanes."""
        return len(self._lanes)

    @property
    def report(self) -> FusionReport:
        """Every op with its tier, for the mode the model is in."""
        return self._program().report

    def train(self, mode: bool = True) -> GroupedModel:
        """Sets train mode; its program is made at the first call."""
        self.training = mode
        return self

    def eval(self) -> GroupedModel:
        """Sets eval mode."""
        return self.train(False)

    def parameters(self) -> Iterator[Tensor]:
        """Gives the parameters [G, ...], leaves that stay the same objects when lanes come and go."""
        return iter(self._tensors.parameters.values())

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Gives the parameters [G, ...] with the models' own names."""
        return iter(self._tensors.parameters.items())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Gives the buffers [G, ...] with the models' own names."""
        return iter(self._tensors.buffers.items())

    def lane_state_dict(self, lane: int) -> dict[str, Tensor]:
        """Gives a lane's state_dict, for the unmodified model."""
        return self._tensors.state_dict(lane)

    def take(self, indices: Sequence[int]) -> None:
        """Keeps the lanes with these indices, in this order."""
        differ = self._lanes_differ()
        self._tensors.take(indices)
        self._lanes = [self._lanes[index] for index in indices]
        if self.generators is not None:
            self.generators = [self.generators[index] for index in indices]
        if differ:
            self._programs.clear()

    def insert(
        self, model_or_state: nn.Module | Mapping[str, Tensor], generator: torch.Generator | None = None
    ) -> None:
        """Adds a lane at the end: a model, or a state_dict for a lane configured like the last one.

        Args:
            model_or_state: Where the lane's tensors come from.
            generator: The lane's random stream, when the others have theirs.
        """
        if self.generators is not None:
            if generator is None:
                raise ValueError("the other lanes have random streams of their own: give the new one its generator")
            self.generators = [*self.generators, generator]
        is_model = isinstance(model_or_state, nn.Module)
        row = lane_tensors(model_or_state) if isinstance(model_or_state, nn.Module) else model_or_state
        self._tensors.append([row])
        differed = self._lanes_differ()
        self._lanes.append(model_or_state if isinstance(model_or_state, nn.Module) else self._lanes[-1])
        if differed or (is_model and self._lanes_differ()):
            self._programs.clear()

    def _program(self) -> GroupedProgram | SeparateProgram:
        if self.training not in self._programs:
            self._programs[self.training] = self._lower()
        return self._programs[self.training]

    def _lower(self) -> GroupedProgram | SeparateProgram:
        modules = self._lanes if self._lanes_differ() else self._lanes[:1]
        try:
            return lower([trace(module, self._example_inputs, train=self.training) for module in modules])
        except (NotFusible, NotTraceable) as error:
            return SeparateProgram(modules, self.training, str(error))

    def _lanes_differ(self) -> bool:
        """Whether lanes need a trace each: some number of theirs may differ."""
        return any(not same_configuration(self._lanes[0], lane) for lane in self._lanes[1:])


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
