"""Any torch optimizer over lanes: one of the user's class per lane, on views of its rows."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hydro.optim.grouped_optimizer import LaneOptions, LaneState, MakeOptimizer


class _Lane:
    """One lane's own optimizer, and the leaves that it steps."""

    def __init__(
        self, optimizer_type: type[Optimizer], leaves: dict[str, Tensor], options: LaneOptions, make: Any
    ) -> None:
        self.leaves = leaves
        self._given: dict[str, dict[str, Any]] = {name: {} for name in leaves}
        constructor: Any = optimizer_type
        groups = [{**_numbers(options.get(name, {})), "params": [leaf]} for name, leaf in leaves.items()]
        self.optimizer: Optimizer = constructor(groups) if make is None else make(leaves)
        self._names = {id(leaf): name for name, leaf in leaves.items()}
        if make is not None:
            self._split_groups(options)
        self._group_of = {
            self._names[id(leaf)]: group for group in self.optimizer.param_groups for leaf in group["params"]
        }
        self.set_options(options)

    def _split_groups(self, options: LaneOptions) -> None:
        """Splits the user's groups where the options of their members differ; most stay as they are."""
        groups = []
        for group in self.optimizer.param_groups:
            parts: list[tuple[Mapping[str, Any], list[Tensor]]] = []
            for leaf in group["params"]:
                own = _numbers(options.get(self._names[id(leaf)], {}))
                members = next((members for numbers, members in parts if numbers == own), None)
                if members is None:
                    parts.append((own, [leaf]))
                else:
                    members.append(leaf)
            groups += [{**group, "params": members} for _, members in parts] if len(parts) > 1 else [group]
        self.optimizer.param_groups[:] = groups

    def set_options(self, options: LaneOptions) -> None:
        """Writes what has changed: an optimizer may keep state of its own in its groups."""
        for name, given in options.items():
            changed = {key: value for key, value in _numbers(given).items() if self._is_new(name, key, value)}
            self._given[name].update(changed)
            self._group_of[name].update(changed)

    def _is_new(self, name: str, key: str, value: Any) -> bool:
        return key not in self._given[name] or bool(self._given[name][key] != value)

    def set_number(self, name: str, number: str, value: float) -> None:
        group = self._group_of[name]
        if number in ("beta1", "beta2"):
            betas = list(group["betas"])
            betas[int(number[-1]) - 1] = value
            self.set_options({name: {"betas": tuple(betas)}})
        else:
            self.set_options({name: {number: value}})

    def step(self, lane: int, parameters: Mapping[str, Tensor]) -> None:
        for name, leaf in self.leaves.items():
            parameter = parameters[name]
            row = parameter.detach()[lane]
            if leaf.data_ptr() != row.data_ptr():
                leaf.data = row
            leaf.grad = None if parameter.grad is None else parameter.grad[lane]
        self.optimizer.step()

    def load(self, state: LaneState) -> None:
        for name, leaf in self.leaves.items():
            if name in state:
                self.optimizer.state[leaf] = _copied(state[name])

    def state(self) -> dict[str, dict[str, Any]]:
        kept = {name: self.optimizer.state.get(leaf) for name, leaf in self.leaves.items()}
        return {name: _copied(slots) for name, slots in kept.items() if slots}


class LaneWise:
    """Runs one optimizer per lane on leaf views of the lane's rows.

    Exact by construction; as slow as separate optimizers. What an optimizer keeps outside its `state` (in its groups or
    attributes) stays with a lane as long as that lane stays.
    """

    def __init__(
        self,
        optimizer_type: type[Optimizer],
        parameters: Mapping[str, Tensor],
        lanes: Sequence[LaneOptions],
        makers: Sequence[MakeOptimizer] | None = None,
    ) -> None:
        """Builds an optimizer for each lane: by its maker, else of the class, with a group for each parameter."""
        self._type = optimizer_type
        self._parameters = dict(parameters)
        self._lanes = [
            self._build(lane, options, makers[lane] if makers else None) for lane, options in enumerate(lanes)
        ]

    @property
    def lanes(self) -> int:
        """How many lanes there are."""
        return len(self._lanes)

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        """What it steps, [G, ...] each, by name."""
        return self._parameters

    def step(self, skipped: Sequence[int] = ()) -> None:
        """Updates every parameter that has a gradient, from `.grad`; the skipped lanes stay as they are."""
        for index, lane in enumerate(self._lanes):
            if index not in skipped:
                lane.step(index, self._parameters)

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    def set_options(self, lane: int, options: LaneOptions) -> None:
        """Replaces the named options of a lane, for the next steps; options and parameters not named stay."""
        self._lanes[lane].set_options(options)

    def set_number(self, number: str, values: Tensor) -> None:
        """Replaces one number of all lanes at once; `values` is [G] or [T, G]."""
        table = values.double().expand(len(self._parameters), self.lanes).tolist()
        for index, lane in enumerate(self._lanes):
            for name, row in zip(self._parameters, table, strict=True):
                lane.set_number(name, number, row[index])

    def take(self, indices: Sequence[int]) -> None:
        """Keeps the lanes with these indices, in this order. One that comes again is a copy."""
        seen: set[int] = set()
        taken = []
        for index in indices:
            taken.append(copy.deepcopy(self._lanes[index]) if index in seen else self._lanes[index])
            seen.add(index)
        self._lanes = taken

    def rebuild(self, lane: int, options: LaneOptions, make: MakeOptimizer | None = None) -> None:
        """Gives a lane other options as from its first step on; its state stays."""
        state = self.lane_state(lane)
        self._lanes[lane] = self._build(lane, options, make)
        self._lanes[lane].load(state)

    def append(self, state: LaneState, options: LaneOptions, make: MakeOptimizer | None = None) -> None:
        """Adds a lane at the end; an empty state is that of an optimizer that has not stepped."""
        self._lanes.append(self._build(self.lanes, options, make))
        self._lanes[-1].load(state)

    def lane_state(self, lane: int) -> dict[str, dict[str, Any]]:
        """Gives a copy of a lane's state, in torch's names and shapes."""
        return self._lanes[lane].state()

    def _build(self, lane: int, options: LaneOptions, make: MakeOptimizer | None) -> _Lane:
        leaves: dict[str, Tensor] = {name: nn.Parameter(each.detach()[lane]) for name, each in self._parameters.items()}
        return _Lane(self._type, leaves, options, make)


def _numbers(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "params"}


def _copied(slots: Mapping[str, Any]) -> dict[str, Any]:
    return {
        slot: value.detach().clone() if isinstance(value, torch.Tensor) else copy.deepcopy(value)
        for slot, value in slots.items()
    }
