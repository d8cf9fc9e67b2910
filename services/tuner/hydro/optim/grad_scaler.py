"""Loss scaling for float16, lane by lane.

Legend: G lanes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hydro.optim.grouped_optimizer import GroupedOptimizer
from hydro.optim.lane_numbers import Number


class GradScaler:
    """Grouped twin of torch.amp.GradScaler: each lane has its scale, and growth and backoff of its own.

    A lane whose gradients are not all finite skips its step alone; the others step.

    Source: torch/amp/grad_scaler.py, aten/src/ATen/native/cuda/AmpKernels.cu (`_amp_update_scale_`).
    """

    def __init__(
        self,
        device: str | torch.device = "cuda",
        init_scale: Number = 2.0**16,
        growth_factor: Number = 2.0,
        backoff_factor: Number = 0.5,
        growth_interval: Number = 2000,
        enabled: bool = True,
        *,
        lanes: int,
    ) -> None:
        """Takes torch's arguments, and how many lanes there are; each number is one value, or one per lane.

        The scales stay on the CPU, whatever `device`: which lanes skip must be known there.

        Raises:
            ValueError: The growth factor is not above 1, or the backoff factor not below.
        """
        given = {"scale": init_scale, "growth_factor": growth_factor, "backoff_factor": backoff_factor}
        tables = {
            name: _of_lanes(value, lanes) for name, value in {**given, "growth_interval": growth_interval}.items()
        }
        if not bool((tables["growth_factor"] > 1).all()) or not bool((tables["backoff_factor"] < 1).all()):
            raise ValueError("the growth factor must be above 1 and the backoff factor below 1, in every lane")
        # Scales are multiplied in float32, as torch keeps them.
        self._scale_G = tables.pop("scale").to(torch.float32)
        self._numbers = tables
        self._tracker_G = torch.zeros(lanes, dtype=torch.int32)
        self._found_G: Tensor | None = None
        self._enabled = enabled

    def __len__(self) -> int:
        """How many lanes there are."""
        return len(self._scale_G)

    def is_enabled(self) -> bool:
        """Says whether it scales at all."""
        return self._enabled

    def get_scale(self) -> Tensor:
        """Gives the scales, [G]."""
        return self._scale_G.clone() if self._enabled else torch.ones(len(self))

    def scale(self, losses: Tensor) -> Tensor:
        """Gives the losses, [G, ...], times the scales."""
        if not self._enabled:
            return losses
        scale_G = self._scale_G.to(losses.device)
        return losses * scale_G.view(-1, *[1] * (losses.ndim - 1)).to(losses.dtype)

    @torch.no_grad()
    def unscale_(self, optimizer: GroupedOptimizer) -> None:
        """Divides the optimizer's gradients by the scales, before clipping; `step` does it otherwise.

        Raises:
            RuntimeError: It was done already since the last `update`.
        """
        if not self._enabled:
            return
        if self._found_G is not None:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update()")
        inverse_G = self._scale_G.double().reciprocal().float()
        self._found_G = torch.zeros(len(self), dtype=torch.bool)
        for parameter in optimizer.parameters.values():
            if parameter.grad is not None:
                finite_G = parameter.grad.isfinite().reshape(len(self), -1).all(dim=1)
                self._found_G |= ~finite_G.cpu()
                parameter.grad.mul_(inverse_G.to(parameter.grad).view(-1, *[1] * (parameter.ndim - 1)))

    def step(self, optimizer: GroupedOptimizer) -> None:
        """Steps the lanes whose gradients are finite."""
        if self._enabled and self._found_G is None:
            self.unscale_(optimizer)
        found = [] if self._found_G is None else self._found_G.nonzero().flatten().tolist()
        optimizer.step(skipped=found)

    def update(self, new_scale: Number | None = None) -> None:
        """Backs off the scales of lanes that skipped, and grows those of lanes that did not for long; or sets them.

        Raises:
            RuntimeError: No gradients have been looked at since the last `update`.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            self._scale_G = _of_lanes(new_scale, len(self)).to(torch.float32)
        elif self._found_G is None:
            raise RuntimeError("update() found no gradients looked at: call step() or unscale_() before it")
        else:
            self._follow(self._found_G)
        self._found_G = None

    def _follow(self, found_G: Tensor) -> None:
        successes_G = torch.where(found_G, 0, self._tracker_G + 1)
        is_long_G = successes_G == self._numbers["growth_interval"]
        grown_G = (self._scale_G * self._numbers["growth_factor"].float()).float()
        grown_G = torch.where(is_long_G & grown_G.isfinite(), grown_G, self._scale_G)
        backed_G = (self._scale_G * self._numbers["backoff_factor"].float()).float()
        self._scale_G = torch.where(found_G, backed_G, grown_G)
        self._tracker_G = torch.where(is_long_G, 0, successes_G).to(torch.int32)

    def lane_state(self, lane: int) -> dict[str, Any]:
        """Gives what the `state_dict` of that lane's own torch.amp.GradScaler would be."""
        if not self._enabled:
            return {}
        numbers = {name: float(table[lane]) for name, table in self._numbers.items()}
        numbers["growth_interval"] = int(numbers["growth_interval"])
        return {"scale": float(self._scale_G[lane]), **numbers, "_growth_tracker": int(self._tracker_G[lane])}

    def load_lane_state(self, lane: int, state: Mapping[str, Any]) -> None:
        """Goes on in a lane from what `lane_state`, or torch's `state_dict`, gave."""
        if not self._enabled:
            return
        self._scale_G[lane] = state["scale"]
        self._tracker_G[lane] = state["_growth_tracker"]
        for name, table in self._numbers.items():
            table[lane] = state[name]

    def take(self, indices: Sequence[int]) -> None:
        """Keeps the lanes with these indices, in this order."""
        kept = list(indices)
        self._scale_G, self._tracker_G = self._scale_G[kept], self._tracker_G[kept]
        self._numbers = {name: table[kept] for name, table in self._numbers.items()}

    def append(self, state: Mapping[str, Any]) -> None:
        """Adds a lane at the end, with the state of a lane of such a scaler or of torch's own."""
        self._scale_G = torch.cat([self._scale_G, self._scale_G.new_ones(1)])
        self._tracker_G = torch.cat([self._tracker_G, self._tracker_G.new_zeros(1)])
        self._numbers = {name: torch.cat([table, table.new_zeros(1)]) for name, table in self._numbers.items()}
        self.load_lane_state(len(self) - 1, state)


def _of_lanes(number: Number, lanes: int) -> Tensor:
    given = number if isinstance(number, Tensor | Sequence) else [float(number)] * lanes
    if len(given) != lanes:
        raise ValueError(f"{len(given)} values for {lanes} lanes: give one, or one per lane")
    return torch.as_tensor(given, dtype=torch.float64)
