"""Fuses ordinary models: `fuse(models, example_inputs)` runs them as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hydro.tuner.fusion.given_inputs import GivenInputs
from hydro.tuner.fusion.lane_programs import LanePrograms
from hydro.tuner.fusion.lanes import LaneTensors, lane_tensors
from hydro.tuner.fusion.report import FusionReport


def fuse(models: Sequence[nn.Module], example_inputs: tuple[Any, ...]) -> GroupedModel:
    """Makes one model of many that share a structure and differ in weights, and in numbers such as a dropout's.

    Args:
        models: Ordinary modules; they are copied from and stay as they are.
        example_inputs: Arguments of one of them.

    Raises:
        ValueError: The models have different tensors.
        TypeError: `example_inputs` is no tuple.
    """
    if not models:
        raise ValueError("fuse got no models")
    if not isinstance(example_inputs, tuple):
        raise TypeError(f"example_inputs is a {type(example_inputs).__name__}: give a tuple of the model's arguments")
    return GroupedModel(models, example_inputs)


class GroupedModel:
    """Many models as one; every tensor it gives has a leading lane axis.

    In train mode, random ops draw lane after lane from `generators`, if given, each as the model alone would from
    torch's default generator. Parameters that are frozen (`requires_grad` is False) and equal in all models are kept
    once, without a lane axis, until a lane joins that has others.

    On a CPU with one thread a lane's bits do not depend on which other lanes there are, nor on how many. Not so in
    large convolutions of some shapes, whose last bits change where all lanes' filters together pass about 1.5 MB
    (docs/decisions/0011).
    """

    def __init__(self, models: Sequence[nn.Module], example_inputs: tuple[Any, ...]) -> None:
        """Stacks the models' tensors and lowers their program for the mode the first one is in."""
        self._tensors = LaneTensors(models, shares_frozen=True)
        self._programs = LanePrograms(models, GivenInputs(example_inputs, {}), self._tensors.shared_names())
        self.training = models[0].training
        self.generators: Sequence[torch.Generator] | None = None
        self._programs.program(self.training)

    def __call__(self, *inputs: Any, lane_inputs: bool = False, **keywords: Any) -> Any:
        """Runs all lanes.

        Inputs nested otherwise, of other shapes or with other Python values than those before are traced and lowered
        once more, at their first call.

        Args:
            *inputs: The model's arguments, shared by all lanes.
            lane_inputs: Whether every input tensor carries the lane axis itself.
            **keywords: The model's keyword arguments.

        Raises:
            ValueError: There are no lanes, or the inputs or the generators are for another number of them.
            Exception: What the model itself raises about inputs that it does not take.
        """
        if len(self) == 0:
            raise ValueError("there are no lanes: insert one first")
        if self.generators is not None and len(self.generators) != len(self):
            raise ValueError(f"there are {len(self.generators)} generators for {len(self)} lanes: give one per lane")
        given = GivenInputs(inputs, keywords, len(self) if lane_inputs else None)
        return self._programs.program(self.training, given)(
            {**self._tensors.parameters, **self._tensors.shared},
            self._tensors.buffers,
            inputs,
            lane_inputs=lane_inputs,
            generators=self.generators,
            keywords=keywords,
        )

    def __len__(self) -> int:
        """The number of lanes."""
        return len(self._programs)

    @property
    def report(self) -> FusionReport:
        """Every op with its tier, for the mode the model is in and the form of inputs used last in it."""
        return self._programs.report(self.training)

    def compile(self) -> GroupedModel:
        """Has the model run by torch.compile from here on, where it can: see `GroupedProgram.compiled`."""
        self._programs.compile()
        return self

    @property
    def compilation(self) -> str:
        """Whether the model runs compiled, and if not, why; empty where nobody asked for it."""
        return self._programs.program(self.training).compilation

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

    def named_shared(self) -> Iterator[tuple[str, Tensor]]:
        """Gives the frozen parameters that all lanes share, without a lane axis."""
        return iter(self._tensors.shared.items())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Gives the buffers [G, ...] with the models' own names."""
        return iter(self._tensors.buffers.items())

    def lane_state_dict(self, lane: int) -> dict[str, Tensor]:
        """Gives a lane's state_dict, for the unmodified model."""
        return self._tensors.state_dict(lane)

    def take(self, indices: Sequence[int]) -> None:
        """Keeps the lanes with these indices, in this order."""
        self._tensors.take(indices)
        self._programs.take(indices)
        if self.generators is not None:
            self.generators = [self.generators[index] for index in indices]

    def insert(
        self, model_or_state: nn.Module | Mapping[str, Tensor], generator: torch.Generator | None = None
    ) -> None:
        """Adds a lane at the end: a model, or a state_dict for a lane configured like the last one.

        A state_dict may leave out what lanes share; where a lane brings other values, they are shared no longer.

        Args:
            model_or_state: Where the lane's tensors come from.
            generator: The lane's random stream, when the others have theirs.

        Raises:
            ValueError: A tensor is missing or has another shape, or the generator is.
        """
        if self.generators is not None and generator is None:
            raise ValueError("the other lanes have random streams of their own: give the new one its generator")
        model = model_or_state if isinstance(model_or_state, nn.Module) else None
        row = model_or_state if not isinstance(model_or_state, nn.Module) else lane_tensors(model_or_state)
        self._tensors.append([row])
        if self.generators is not None and generator is not None:
            self.generators = [*self.generators, generator]
        if self._tensors.unshare_unlike(row):
            self._programs.share(self._tensors.shared_names())
        self._programs.insert(model)
