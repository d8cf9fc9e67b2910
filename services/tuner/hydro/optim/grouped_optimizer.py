"""The port of an optimizer over lanes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor
from torch.optim import Optimizer

LaneOptions = Mapping[str, Mapping[str, Any]]
"""Of one lane: parameter name -> the options of its torch parameter group (`lr`, `betas`, `weight_decay` ...)."""

LaneState = Mapping[str, Mapping[str, Any]]
"""Of one lane: parameter name -> slot -> tensor or plain value, as in the `state` of a torch optimizer."""

MakeOptimizer = Callable[[Mapping[str, Tensor]], Optimizer]
"""Gives one lane's own torch optimizer over these leaves, by parameter name."""


class GroupedOptimizer(Protocol):
    """Steps parameters that carry a lane axis first; what it does to lane `i` is what torch does to that model alone.

    The parameters are leaves that keep their identity; when lanes leave or join, whoever owns them replaces their
    `.data` (`LaneTensors.take`, `LaneTensors.append`), and `take` or `append` here does the same to the optimizer's
    state. Between the two no step may happen.
    """

    @property
    def lanes(self) -> int:
        """How many lanes there are."""

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """What it steps, [lanes, ...] each."""

    def step(self, skipped: Sequence[int] = ()) -> None:
        """Updates every parameter that has a gradient, from `.grad`.

        The skipped lanes stay as they are, step counts included.
        """

    def zero_grad(self) -> None:
        """Forgets the gradients."""

    def set_options(self, lane: int, options: LaneOptions) -> None:
        """Replaces the named options of a lane, for the next steps; options and parameters not named stay."""

    def set_number(self, number: str, values: Tensor) -> None:
        """Replaces one number of all lanes at once.

        Shape: `values` [lanes], or [parameters, lanes] in the order of the parameters.
        """

    def take(self, indices: Sequence[int]) -> None:
        """Keeps the lanes with these indices, in this order. One that comes again is a copy."""

    def rebuild(self, lane: int, options: LaneOptions, make: MakeOptimizer | None = None) -> None:
        """Gives a lane other options as from its first step on; its state stays."""

    def append(self, state: LaneState, options: LaneOptions, make: MakeOptimizer | None = None) -> None:
        """Adds a lane at the end; an empty state is that of an optimizer that has not stepped.

        `make` builds the lane's own optimizer where one is run; without it, the class is called with the options.
        """

    def lane_state(self, lane: int) -> dict[str, dict[str, Any]]:
        """Gives a copy of a lane's state, in torch's names and shapes."""
