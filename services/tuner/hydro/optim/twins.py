"""From a torch optimizer to the one that steps all lanes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hydro.optim.adam import Adam, AdamW
from hydro.optim.grouped_optimizer import GroupedOptimizer, LaneOptions
from hydro.optim.grouped_rule import GroupedRule
from hydro.optim.lane_wise import LaneWise
from hydro.optim.sgd import SGD

_TWINS: Mapping[type[Optimizer], type[GroupedRule]] = {
    torch.optim.SGD: SGD,
    torch.optim.Adam: Adam,
    torch.optim.AdamW: AdamW,
}


def grouped_twin(optimizer_type: type[Optimizer]) -> type[GroupedRule] | None:
    """Gives the grouped twin of exactly this class; a subclass may step otherwise, so it has none."""
    return _TWINS.get(optimizer_type)


def build_optimizer(
    optimizer_type: type[Optimizer], parameters: Mapping[str, Tensor], lanes: Sequence[LaneOptions]
) -> GroupedOptimizer:
    """Gives the grouped twin, or runs the class itself on per-lane views.

    Args:
        optimizer_type: What every lane's own optimizer is.
        parameters: Leaves [G, ...] by name.
        lanes: For each lane, the options of every parameter's group; no `params` entry is needed.
    """
    twin = grouped_twin(optimizer_type)
    if twin is None:
        return LaneWise(optimizer_type, parameters, lanes)
    constructor: Any = twin
    optimizer: GroupedRule = constructor(parameters)
    for lane, options in enumerate(lanes):
        optimizer.set_options(lane, options)
    return optimizer
