"""Any torch optimizer over lanes: one of the user's class per lane, on views of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hydro.optim.grouped_optimizer import LaneOptions, LaneState


class LaneWise:
    """Runs one optimizer per lane on leaf views of the lane's rows.

    Exact by construction; as slow as separate optimizers.
    """

    def __init__(
        self, optimizer_type: type[Optimizer], parameters: Mapping[str, Tensor], lanes: Sequence[LaneOptions]
    ) -> None:
        """Builds an optimizer for each lane, with a parameter group for each parameter."""
        self._type = optimizer_type
        self._parameters = dict(parameters)
        self._lanes = [self._build(lane, options) for lane, options in enumerate(lanes)]

    @property
    def lanes(self) -> int:
        """How many lanes there are."""
        return len(self._lanes)

    def step(self) -> None:
        """Updates every parameter that has a gradient, from `.grad`."""
        for lane, optimizer in enumerate(self._lanes):
            for (view, _), parameter in zip(self._views(optimizer), self._parameters.values(), strict=True):
                if view.data_ptr() != parameter[lane].data_ptr():
                    view.data = parameter.detach()[lane]
                view.grad = None if parameter.grad is None else parameter.grad[lane]
            optimizer.step()

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    def set_options(self, lane: int, options: LaneOptions) -> None:
        """Replaces the named options of a lane, for the next steps; options and parameters not named stay."""
        for (_, group), name in zip(self._views(self._lanes[lane]), self._parameters, strict=True):
            group.update({key: value for key, value in options.get(name, {}).items() if key != "params"})

    def set_number(self, number: str, values: Tensor) -> None:
        """Replaces one number of all lanes at once; `values` is [G] or [T, G]."""
        table = values.double().expand(len(self._parameters), self.lanes).tolist()
        for lane, optimizer in enumerate(self._lanes):
            for (_, group), row in zip(self._views(optimizer), table, strict=True):
                if number in ("beta1", "beta2"):
                    betas = list(group["betas"])
                    betas[int(number[-1]) - 1] = row[lane]
                    group["betas"] = tuple(betas)
                else:
                    group[number] = row[lane]

    def take(self, indices: Sequence[int]) -> None:
        """Keeps the lanes with these indices, in this order."""
        self._lanes = [self._lanes[index] for index in indices]

    def append(self, state: LaneState, options: LaneOptions) -> None:
        """Adds a lane at the end; an empty state is that of an optimizer that has not stepped."""
        lane = self.lanes
        optimizer = self._build(lane, options)
        for (view, _), name in zip(self._views(optimizer), self._parameters, strict=True):
            if name in state:
                optimizer.state[view] = {slot: tensor.clone() for slot, tensor in state[name].items()}
        self._lanes.append(optimizer)

    def lane_state(self, lane: int) -> dict[str, dict[str, Tensor]]:
        """Gives a copy of a lane's state, in torch's names and shapes."""
        optimizer = self._lanes[lane]
        states = {
            name: {slot: torch.as_tensor(value).clone() for slot, value in optimizer.state[view].items()}
            for (view, _), name in zip(self._views(optimizer), self._parameters, strict=True)
            if optimizer.state.get(view)
        }
        return {name: state for name, state in states.items() if state}

    def _build(self, lane: int, options: LaneOptions) -> Optimizer:
        groups = [
            {**self._without_params(options.get(name, {})), "params": [self._leaf(parameter, lane)]}
            for name, parameter in self._parameters.items()
        ]
        constructor: Any = self._type
        optimizer: Optimizer = constructor(groups)
        return optimizer

    @staticmethod
    def _without_params(options: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in options.items() if key != "params"}

    @staticmethod
    def _leaf(parameter: Tensor, lane: int) -> Tensor:
        return parameter.detach()[lane].requires_grad_()

    @staticmethod
    def _views(optimizer: Optimizer) -> list[tuple[Tensor, dict[str, Any]]]:
        return [(group["params"][0], group) for group in optimizer.param_groups]
