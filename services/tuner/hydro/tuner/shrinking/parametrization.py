"""muP's table: how values, learning rates and the like change with a tensor's fan-in and fan-out.

Anchored at the target: every factor is one at full width, so the user's own training is untouched, and the surrogate
has the factors. `m_in` and `m_out` are the surrogate's fan-in and fan-out over the target's.

Each entry is a pair of exponents (a, b): the factor is m_in ** a * m_out ** b.

Sources: Yang et al. 2022, "Tensor Programs V", Table 3 (readout without multiplier) and Table 8 (with multiplier);
microsoft/mup 1.0.0 `mup/optim.py` and `mup/init.py`; eps and the constant lr x weight decay from CompleteP
(arXiv:2505.01618) and Wang & Aitchison (arXiv:2405.13698); all of them follow from the spectral condition
(arXiv:2310.17813): weights and updates have spectral norm sqrt(fan_out / fan_in).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from hydro.kit.errors import InvalidArgument
from hydro.tuner.shrinking.classification import Classified, TensorClass

Exponents = tuple[float, float]


class OptimizerFamily(Enum):
    """How an update depends on the gradient's scale."""

    SGD = "sgd"
    """Proportional; weight decay is added to the gradient."""
    ADAM = "adam"
    """Independent; weight decay is added to the gradient."""
    ADAMW = "adamw"
    """Independent; weight decay shrinks weights by lr x weight_decay."""


@dataclass(frozen=True, slots=True)
class Row:
    """Exponents for one class of tensors under one family of optimizers."""

    lr: Exponents
    weight_decay: Exponents
    eps: Exponents
    source: str


@dataclass(frozen=True, slots=True)
class Factors:
    """What a parameter's own numbers are multiplied by on the surrogate."""

    lr: float = 1.0
    weight_decay: float = 1.0
    eps: float = 1.0


_ONE: Exponents = (0, 0)
_TP5 = "TP-V Table 3; mup/optim.py"
_TP5_MULTIPLIED = "TP-V Table 8; mup/optim.py"
_L2_IN_ADAM = "; L2 inside Adam has no exact rule: kept in proportion to the gradient"

INITIAL_STD: Mapping[TensorClass, Exponents] = {
    TensorClass.FIXED: _ONE,
    TensorClass.VECTOR: _ONE,
    TensorClass.HIDDEN: (-0.5, 0),
    TensorClass.READOUT: (-1, 0),
    TensorClass.MULTIPLIED_READOUT: _ONE,
    TensorClass.BUFFER: _ONE,
}
"""Factor of the standard deviation of the target's own initial values. Source: TP-V Tables 3 and 8; mup/init.py."""

FORWARD_MULTIPLIER: Mapping[TensorClass, Exponents] = {TensorClass.MULTIPLIED_READOUT: (-1, 0)}
"""Factor of what a tensor is contracted with. Source: TP-V Table 8."""

TABLE: Mapping[tuple[TensorClass, OptimizerFamily], Row] = {
    (TensorClass.VECTOR, OptimizerFamily.SGD): Row((0, 1), (0, -1), _ONE, _TP5),
    (TensorClass.HIDDEN, OptimizerFamily.SGD): Row((-1, 1), (1, -1), _ONE, _TP5),
    (TensorClass.READOUT, OptimizerFamily.SGD): Row((-1, 0), (1, 0), _ONE, _TP5),
    (TensorClass.MULTIPLIED_READOUT, OptimizerFamily.SGD): Row((1, 0), (-1, 0), _ONE, _TP5_MULTIPLIED),
    (TensorClass.VECTOR, OptimizerFamily.ADAM): Row(_ONE, (0, -1), (0, -1), _TP5 + _L2_IN_ADAM),
    (TensorClass.HIDDEN, OptimizerFamily.ADAM): Row((-1, 0), (1, -1), (0, -1), _TP5 + _L2_IN_ADAM),
    (TensorClass.READOUT, OptimizerFamily.ADAM): Row((-1, 0), (1, 0), _ONE, _TP5 + _L2_IN_ADAM),
    (TensorClass.MULTIPLIED_READOUT, OptimizerFamily.ADAM): Row(_ONE, (-1, 0), (-1, 0), _TP5_MULTIPLIED + _L2_IN_ADAM),
    (TensorClass.VECTOR, OptimizerFamily.ADAMW): Row(_ONE, _ONE, (0, -1), _TP5),
    (TensorClass.HIDDEN, OptimizerFamily.ADAMW): Row((-1, 0), (1, 0), (0, -1), _TP5 + "; arXiv:2405.13698"),
    (TensorClass.READOUT, OptimizerFamily.ADAMW): Row((-1, 0), (1, 0), _ONE, _TP5 + "; arXiv:2405.13698"),
    (TensorClass.MULTIPLIED_READOUT, OptimizerFamily.ADAMW): Row(_ONE, _ONE, (-1, 0), _TP5_MULTIPLIED),
}
"""Tensors that do not shrink have no row: their factors are one."""

FAMILIES: Mapping[type[Optimizer], OptimizerFamily] = {
    torch.optim.SGD: OptimizerFamily.SGD,
    torch.optim.ASGD: OptimizerFamily.SGD,
    torch.optim.AdamW: OptimizerFamily.ADAMW,
    torch.optim.Adam: OptimizerFamily.ADAM,
    torch.optim.Adamax: OptimizerFamily.ADAM,
    torch.optim.NAdam: OptimizerFamily.ADAM,
    torch.optim.RAdam: OptimizerFamily.ADAM,
    torch.optim.RMSprop: OptimizerFamily.ADAM,
    torch.optim.Adagrad: OptimizerFamily.ADAM,
}


class UnknownOptimizer(InvalidArgument):
    """Neither the table nor a probe tells how the optimizer's update depends on the gradient's scale."""

    default_reason = "UNKNOWN_OPTIMIZER"


@dataclass(frozen=True, slots=True)
class Parametrization:
    """The class and ratios of every parameter, by its name in the model; tied ones under each of their names."""

    parameters: Mapping[str, Classified]

    def factors(self, name: str, optimizer_type: type[Optimizer]) -> Factors:
        """What the parameter's learning rate, weight decay and eps are multiplied by.

        Raises:
            UnknownOptimizer: the optimizer is not in the table, and a probe of it fails.
        """
        each = self.parameters[name]
        row = TABLE.get((each.tensor_class, family_of(optimizer_type)))
        if row is None:
            return Factors()
        return Factors(_power(each, row.lr), _power(each, row.weight_decay), _power(each, row.eps))

    def apply(self, optimizer: Optimizer, model: nn.Module) -> None:
        """Gives each parameter a group of its own in the optimizer, its numbers multiplied by its factors.

        Schedulers must be made afterwards, since they remember each group's initial learning rate.
        """
        names = {parameter: name for name, parameter in model.named_parameters()}
        groups = []
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                factors = self.factors(names[parameter], type(optimizer))
                groups.append(_scaled_group(group, parameter, factors))
        optimizer.param_groups[:] = groups


def initial_std_factor(each: Classified) -> float:
    """What the standard deviation of the target's initial values is multiplied by."""
    return _power(each, INITIAL_STD[each.tensor_class])


def forward_multiplier(each: Classified, contracted_ratio: float) -> float:
    """What an activation is multiplied by before it meets the tensor; `contracted_ratio` is one for a look-up."""
    exponent, _ = FORWARD_MULTIPLIER.get(each.tensor_class, _ONE)
    return float(contracted_ratio**exponent)


def family_of(optimizer_type: type[Optimizer]) -> OptimizerFamily:
    """The optimizer's family: by its class or a parent's, else by a probe.

    Raises:
        UnknownOptimizer: it is in no family.
    """
    for parent in optimizer_type.__mro__:
        if parent in FAMILIES:
            return FAMILIES[parent]
    return _probe(optimizer_type)


def _probe(optimizer_type: type[Optimizer]) -> OptimizerFamily:
    """A gradient a thousand times as large moves a parameter a thousand times as far, or just as far."""
    try:
        small, large = (_first_update(optimizer_type, scale) for scale in (1.0, 1000.0))
    except Exception as error:
        raise _unknown(optimizer_type) from error
    ratio = large / small if small else float("nan")
    if 900 < ratio < 1100:
        return OptimizerFamily.SGD
    if 0.9 < ratio < 1.1:
        return OptimizerFamily.ADAM
    raise _unknown(optimizer_type)


def _first_update(optimizer_type: type[Optimizer], scale: float) -> float:
    parameter = nn.Parameter(torch.ones(4, 4, dtype=torch.float64))
    build: Any = optimizer_type
    optimizer = build([parameter], lr=1e-3)
    parameter.grad = torch.full_like(parameter, scale)
    optimizer.step()
    return float((parameter.detach() - 1).abs().mean())


def _unknown(optimizer_type: type[Optimizer]) -> UnknownOptimizer:
    return UnknownOptimizer(
        f"how learning rates of {optimizer_type.__name__} change with the width is not known: use one of "
        + ", ".join(sorted(each.__name__ for each in FAMILIES))
        + ", or width 1"
    )


def _scaled_group(group: Mapping[str, Any], parameter: nn.Parameter, factors: Factors) -> dict[str, Any]:
    scaled = {**group, "params": [parameter]}
    for key, factor in (("lr", factors.lr), ("weight_decay", factors.weight_decay), ("eps", factors.eps)):
        if key in scaled:
            scaled[key] = scaled[key] * factor
    return scaled


def _power(each: Classified, exponents: Exponents) -> float:
    return float(each.fan_in_ratio ** exponents[0] * each.fan_out_ratio ** exponents[1])
