"""The port of an optimizer over lanes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor

LaneOptions = Mapping[str, Mapping[str, Any]]
"""Of one lane: parameter name -> the options of its torch parameter group (`lr`, `betas`, `weight_decay` ...)."""

LaneState = Mapping[str, Mapping[str, Tensor]]
"""Of one lane: parameter name -> slot -> tensor, as in the `state` of a torch optimizer."""


class GroupedOptimizer(Protocol):
    """Steps parameters that carry a lane axis first; what it does to lane `i` is what torch does to that model alone.

    The parameters are leaves that keep their identity; when lanes leave or join, whoever owns them replaces their
    `.data` (`LaneTensors.take`, `LaneTensors.append`), and `take` or `append` here does the same to the optimizer's
    state. Between the two no step may happen.
    """

    @property
    def lanes(self) -> int:
        """How many lanes there are."""

    def step(self) -> None:
        """Updates every parameter that has a gradient, from `.grad`."""

    def zero_grad(self) -> None:
        """Forgets the gradients."""

    def set_options(self, lane: int, options: LaneOptions) -> None:
        """Replaces the named options of a lane, for the next steps; options and parameters not named stay."""

    def set_number(self, number: str, values: Tensor) -> None:
        """Replaces one number of all lanes at once.

        Shape: `values` [lanes], or [parameters, lanes] in the order of the parameters.
        """

    def take(self, indices: Sequence[int]) -> None:
        """Keeps the lanes with these indices, in this order."""

    def append(self, state: LaneState, options: LaneOptions) -> None:
        """Adds a lane at the end; an empty state is that of an optimizer that has not stepped."""

    def lane_state(self, lane: int) -> dict[str, dict[str, Tensor]]:
        """Gives a copy of a lane's state, in torch's names and shapes."""
