"""To which family of the table an optimizer belongs: by its class, by its options, else by a probe."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from hydro.kit.errors import InvalidArgument
from hydro.tuner.shrinking.rule_table import OptimizerFamily

FAMILIES: Mapping[type[Optimizer], OptimizerFamily] = {
    torch.optim.SGD: OptimizerFamily.SGD,
    torch.optim.ASGD: OptimizerFamily.SGD,
    torch.optim.AdamW: OptimizerFamily.ADAMW,
    torch.optim.Adam: OptimizerFamily.ADAM,
    torch.optim.Adamax: OptimizerFamily.ADAM,
    torch.optim.NAdam: OptimizerFamily.ADAM,
    torch.optim.RAdam: OptimizerFamily.ADAM,
    torch.optim.Rprop: OptimizerFamily.ADAM,
    torch.optim.RMSprop: OptimizerFamily.RMSPROP,
    torch.optim.Adagrad: OptimizerFamily.ADAGRAD,
    torch.optim.Adadelta: OptimizerFamily.ADADELTA,
    torch.optim.Adafactor: OptimizerFamily.ADAFACTOR,
    torch.optim.Muon: OptimizerFamily.MUON,
}

_PROBED_LR, _PROBED_DECAY = 1e-3, 0.5


class UnknownOptimizer(InvalidArgument):
    """Neither the table nor a probe tells how the optimizer's update depends on the gradient's scale."""

    default_reason = "UNKNOWN_OPTIMIZER"


class CoupledWeightDecay(InvalidArgument):
    """Weight decay inside the gradient of an optimizer that normalizes it: no factor makes it transfer."""

    default_reason = "COUPLED_WEIGHT_DECAY"


def family_of(optimizer_type: type[Optimizer], options: Mapping[str, Any] | None = None) -> OptimizerFamily:
    """The optimizer's family: by its class or a parent's, else by a probe.

    Args:
        optimizer_type: The user's choice.
        options: Of one of its parameter groups: `decoupled_weight_decay` makes an Adam an AdamW.

    Raises:
        UnknownOptimizer: it is in no family.
    """
    family = next((FAMILIES[each] for each in optimizer_type.__mro__ if each in FAMILIES), None)
    if family is None:
        return _probe(optimizer_type)  # type: ignore[arg-type] # the class, which hashes, is taken for an instance
    is_decoupled = family is OptimizerFamily.ADAM and bool((options or {}).get("decoupled_weight_decay"))
    return OptimizerFamily.ADAMW if is_decoupled else family


def coupled_weight_decay(optimizer_type: type[Optimizer], weight_decay: float) -> CoupledWeightDecay:
    """The refusal of an optimizer whose weight decay has no rule, with what to use instead."""
    takes_option = issubclass(optimizer_type, (torch.optim.NAdam, torch.optim.RAdam))
    instead = f"{optimizer_type.__name__} with decoupled_weight_decay=True" if takes_option else "torch.optim.AdamW"
    return CoupledWeightDecay(
        f"weight_decay is {weight_decay:g}, and {optimizer_type.__name__} adds it to a gradient whose scale it then"
        f" normalizes away: its best value does not transfer across widths by any factor. Use {instead}, whose decay"
        " transfers, or weight_decay 0, or width 1"
    )


@cache
def _probe(optimizer_type: type[Optimizer]) -> OptimizerFamily:
    """Looks at first updates: what a thousandfold gradient does, what one element does to others, how weights decay."""
    try:
        whole, large = (_first_update(optimizer_type, _gradient() * scale) for scale in (1.0, 1000.0))
        other = _gradient()
        other[0] *= 1000
        rest = _first_update(optimizer_type, other)[1:]
        is_decoupled = _decays_by_itself(optimizer_type)
    except Exception as error:
        raise _unknown(optimizer_type) from error
    if not torch.allclose(rest, whole[1:], rtol=0.01, atol=0):
        raise _unknown(optimizer_type)
    ratio = (large / whole).abs()
    if bool(((ratio > 900) & (ratio < 1100)).all()):
        return OptimizerFamily.SGD
    if bool(((ratio > 0.9) & (ratio < 1.1)).all()):
        return OptimizerFamily.ADAMW if is_decoupled else OptimizerFamily.ADAM
    raise _unknown(optimizer_type)


def _gradient() -> Tensor:
    return torch.linspace(1, 2, 16, dtype=torch.float64).reshape(4, 4)


def _decays_by_itself(optimizer_type: type[Optimizer]) -> bool:
    """Without a gradient, decay that is coupled is normalized like one; decay that is not takes lr x decay."""
    try:
        update = _first_update(optimizer_type, torch.zeros(4, 4, dtype=torch.float64), weight_decay=_PROBED_DECAY)
    except TypeError:
        return False
    return torch.allclose(update, torch.full_like(update, -_PROBED_LR * _PROBED_DECAY), rtol=1e-3)


def _first_update(optimizer_type: type[Optimizer], gradient: Tensor, **options: float) -> Tensor:
    parameter = nn.Parameter(torch.ones_like(gradient))
    build: Any = optimizer_type
    optimizer = build([parameter], lr=_PROBED_LR, **options)
    parameter.grad = gradient
    optimizer.step()
    return parameter.detach() - 1


def _unknown(optimizer_type: type[Optimizer]) -> UnknownOptimizer:
    return UnknownOptimizer(
        f"how learning rates of {optimizer_type.__name__} change with the width is not known: use one of "
        + ", ".join(sorted(each.__name__ for each in FAMILIES))
        + ", or width 1"
    )
