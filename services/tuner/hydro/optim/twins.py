"""From a torch optimizer to the one that steps all lanes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from hydro.optim.adadelta import Adadelta
from hydro.optim.adafactor import Adafactor
from hydro.optim.adagrad import Adagrad
from hydro.optim.adam import Adam, AdamW
from hydro.optim.adamax import Adamax
from hydro.optim.asgd import ASGD
from hydro.optim.grouped_optimizer import GroupedOptimizer, LaneOptions, MakeOptimizer
from hydro.optim.grouped_rule import GroupedRule
from hydro.optim.lane_wise import LaneWise
from hydro.optim.muon import Muon
from hydro.optim.nadam import NAdam
from hydro.optim.radam import RAdam
from hydro.optim.rmsprop import RMSprop
from hydro.optim.rprop import Rprop
from hydro.optim.sgd import SGD

_RULES: Sequence[type[GroupedRule]] = (
    SGD, Adam, AdamW, RMSprop, Adagrad, Adafactor, Muon, NAdam, RAdam, Adadelta, Adamax, ASGD, Rprop,
)  # fmt: skip
_TWINS = {getattr(torch.optim, rule.__name__): rule for rule in _RULES if hasattr(torch.optim, rule.__name__)}


class UnsupportedOptimizer(TypeError):
    """The optimizer's step needs more than gradients of dense parameters."""


def require_supported(optimizer_type: type[Optimizer]) -> None:
    """Refuses the optimizers whose step needs a closure or sparse gradients.

    Raises:
        UnsupportedOptimizer: It is one.
    """
    closure = inspect.signature(optimizer_type.step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise UnsupportedOptimizer(
            f"{optimizer_type.__name__} evaluates the loss several times in one step, by a closure: "
            "return a torch.optim.Optimizer whose step needs no closure"
        )
    if issubclass(optimizer_type, torch.optim.SparseAdam):
        raise UnsupportedOptimizer(
            f"{optimizer_type.__name__} takes sparse gradients, and fused lanes have dense ones: "
            "return torch.optim.Adam, and leave `sparse` of embeddings at False"
        )


def grouped_twin(optimizer_type: type[Optimizer]) -> type[GroupedRule] | None:
    """Gives the grouped twin of exactly this class; a subclass may step otherwise, so it has none."""
    return _TWINS.get(optimizer_type)


def build_optimizer(
    optimizer_type: type[Optimizer],
    parameters: Mapping[str, Tensor],
    lanes: Sequence[LaneOptions],
    makers: Sequence[MakeOptimizer] | None = None,
) -> GroupedOptimizer:
    """Gives the grouped twin, or runs the class itself on per-lane views.

    Args:
        optimizer_type: What every lane's own optimizer is.
        parameters: Leaves [G, ...] by name.
        lanes: For each lane, the options of every parameter's group; no `params` entry is needed.
        makers: For each lane, what builds its optimizer where the class itself runs: for classes whose instances are
            more than their groups' options. Without them the class is called with the groups.

    Raises:
        UnsupportedOptimizer: Its step needs a closure or sparse gradients.
    """
    require_supported(optimizer_type)
    twin = grouped_twin(optimizer_type)
    if twin is None:
        return LaneWise(optimizer_type, parameters, lanes, makers)
    constructor: Any = twin
    optimizer: GroupedRule = constructor(parameters)
    for lane, options in enumerate(lanes):
        optimizer.set_options(lane, options)
    return optimizer
