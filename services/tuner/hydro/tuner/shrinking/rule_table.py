"""The table: how initial values, multipliers, learning rates, weight decay and eps go with fan-in and fan-out.

An entry is a pair of exponents (a, b): the factor is m_in ** a * m_out ** b, where m_in and m_out are the surrogate's
fan-in and fan-out over the target's. So every factor is one at the target, whose own training stays as it is.

A row follows from two things, each with its source: how the values, gradients and wanted updates of a class of tensors
go with the width (`scales`), and what a family of optimizers makes of a gradient (`OptimizerFamily`). SGD moves a
tensor by lr x gradient, so its rate goes with update / gradient; Adam by lr, so its rate goes with the update, and its
eps, which is added to the size of the gradient, with the gradient.

The parametrization is one of a family with gamma = L / w^(1-p), w the width, L the depth, p in [0, 1] (Yaida 2022,
arXiv:2210.04909): hidden features change by w^(-(1-p)/2) in a step. At p = 1 they change alike at every width: muP, the
table in use. At p = 0, the neural tangent parametrization, they freeze as the width grows, so their best learning rates
do not transfer; it is here so that the checks can be seen to tell the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import assert_never

from hydro.tuner.shrinking.classification import TensorClass

Exponents = tuple[float, float]

MUP = 1.0
NEURAL_TANGENT = 0.0

_ONE: Exponents = (0.0, 0.0)


class OptimizerFamily(Enum):
    """What an update makes of the gradient, and what weight decay does."""

    SGD = "SGD"
    """Proportional to it; weight decay is added to it. With or without momentum."""
    ADAM = "Adam"
    """Independent of its size; weight decay is added to it, which no factor keeps exact: refused."""
    ADAMW = "AdamW"
    """As Adam; weight decay shrinks weights by lr x weight_decay."""
    RMSPROP = "RMSprop"
    """As Adam."""
    ADAGRAD = "Adagrad"
    """As Adam; the sum of squares starts at `initial_accumulator_value`."""
    ADADELTA = "Adadelta"
    """Proportional to the square root of eps, which is added to the square of the gradient."""
    ADAFACTOR = "Adafactor"
    """Independent of its size, times the tensor's own size, which `eps[1]` bounds from below; decays as AdamW."""
    MUON = "Muon"
    """A matrix whose singular values are one, times what `adjust_lr_fn` makes of its shape; decays as AdamW."""


@dataclass(frozen=True, slots=True)
class Scales:
    """How one class of tensors goes with the width."""

    initial_std: Exponents
    """Of the target's own initial values."""
    multiplier: Exponents
    """Of what the tensor is contracted with."""
    gradient: Exponents
    """Of one element of the loss's gradient."""
    update: Exponents
    """That one element of the tensor must move by."""
    source: str


@dataclass(frozen=True, slots=True)
class Row:
    """One class of tensors under one family of optimizers."""

    initial_std: Exponents
    multiplier: Exponents
    lr: Exponents
    weight_decay: Exponents | None
    """None: there is no rule, a decay that is not zero is refused."""
    eps: Exponents
    floor: Exponents
    """Of a lower bound on the tensor's own size: Adafactor's `eps[1]`."""
    source: str


VECTOR_LIKE = (TensorClass.INPUT, TensorClass.VECTOR, TensorClass.DEPTHWISE, TensorClass.GROUPED_BY_COUNT)
"""What a sum of fixed length goes over."""

TRAINED = (
    *VECTOR_LIKE, TensorClass.HIDDEN, TensorClass.GROUPED_BY_SIZE, TensorClass.READOUT, TensorClass.MULTIPLIED_READOUT,
    TensorClass.TIED,
)  # fmt: skip
"""The classes that have rows. What does not shrink has none: its factors are one."""

_SOURCES: Mapping[TensorClass, str] = {
    TensorClass.INPUT: "TP-V Tables 3 and 8, input weights",
    TensorClass.VECTOR: "TP-V Tables 3 and 8, biases and input weights; mup/optim.py, one infinite dimension",
    TensorClass.DEPTHWISE: "derived: fan-in is the kernel, so as a vector; mup/optim.py counts one infinite dimension",
    TensorClass.GROUPED_BY_COUNT: "derived: a group's fan-in is fixed, so as a vector; microsoft/mup issue 17",
    TensorClass.HIDDEN: "TP-V Tables 3 and 8, hidden weights",
    TensorClass.GROUPED_BY_SIZE: "derived: hidden, with the fan-in of one group",
    TensorClass.READOUT: "TP-V Table 3, output weights",
    TensorClass.MULTIPLIED_READOUT: "TP-V Table 8, output weights",
    TensorClass.TIED: "TP-V Table 8, input and output weights in one",
}

_FAMILY_SOURCES: Mapping[OptimizerFamily, str] = {
    OptimizerFamily.SGD: "decay: lr x weight_decay stays, arXiv:2405.13698",
    OptimizerFamily.ADAM: "eps: arXiv:2407.05872; decay: no rule",
    OptimizerFamily.ADAMW: "eps: arXiv:2407.05872; decay: lr x weight_decay stays, arXiv:2405.13698",
    OptimizerFamily.RMSPROP: "as Adam: TP-V, appendix B.3",
    OptimizerFamily.ADAGRAD: "as Adam: TP-V, appendix B.3",
    OptimizerFamily.ADADELTA: "derived from torch/optim/adadelta.py: eps as the square of gradients",
    OptimizerFamily.ADAFACTOR: "derived from torch/optim/_adafactor.py: steps of min(lr, 1 / sqrt(step)) x own size,"
    " exact while lr is the smaller",
    OptimizerFamily.MUON: "derived: updates of spectral norm sqrt(fan_out / fan_in), arXiv:2310.17813, dion",
}


def scales(tensor_class: TensorClass, feature_learning: float = MUP) -> Scales:
    """How a class goes with the width; `feature_learning` is the family's p.

    Source: arXiv:2310.17813 for p = 1; for the family arXiv:2210.04909, section 3.
    """
    frozen, signal = (1 - feature_learning) / 2, (1 + feature_learning) / 2
    source = _SOURCES[tensor_class]
    match tensor_class:
        case TensorClass.INPUT | TensorClass.VECTOR | TensorClass.DEPTHWISE | TensorClass.GROUPED_BY_COUNT:
            return Scales(_ONE, _ONE, (0, -signal), (0, -frozen), source)
        case TensorClass.HIDDEN | TensorClass.GROUPED_BY_SIZE:
            return Scales((-0.5, 0), _ONE, (0, -signal), (-1, -frozen), source)
        case TensorClass.READOUT:
            return Scales((-signal, 0), _ONE, _ONE, (-1, 0), source)
        case TensorClass.MULTIPLIED_READOUT | TensorClass.TIED:
            return Scales(_ONE, (-signal, 0), (-signal, 0), (-frozen, 0), source)
        case TensorClass.FIXED | TensorClass.BUFFER:
            raise ValueError(f"a tensor that is {tensor_class.value} does not go with the width")
        case _:
            assert_never(tensor_class)


def row(tensor_class: TensorClass, family: OptimizerFamily, feature_learning: float = MUP) -> Row:
    """One row of the table."""
    of = scales(tensor_class, feature_learning)
    lr, eps, floor = _entries(of, tensor_class, family)
    is_exact = family in (OptimizerFamily.SGD, *_DECOUPLED)
    source = f"{of.source}; {_FAMILY_SOURCES[family]}"
    return Row(of.initial_std, of.multiplier, lr, _over(_ONE, lr) if is_exact else None, eps, floor, source)


@cache
def table(feature_learning: float = MUP) -> Mapping[tuple[TensorClass, OptimizerFamily], Row]:
    """Every row."""
    return {(each, family): row(each, family, feature_learning) for each in TRAINED for family in OptimizerFamily}


_DECOUPLED = (OptimizerFamily.ADAMW, OptimizerFamily.ADAFACTOR, OptimizerFamily.MUON)


def _entries(of: Scales, tensor_class: TensorClass, family: OptimizerFamily) -> tuple[Exponents, Exponents, Exponents]:
    """Of the learning rate, of eps and of the floor."""
    match family:
        case OptimizerFamily.SGD:
            return _over(of.update, of.gradient), _ONE, _ONE
        case OptimizerFamily.ADAM | OptimizerFamily.ADAMW | OptimizerFamily.RMSPROP | OptimizerFamily.ADAGRAD:
            return of.update, of.gradient, _ONE
        case OptimizerFamily.ADADELTA:
            return _over(of.update, of.gradient), _times(of.gradient, of.gradient), _ONE
        case OptimizerFamily.ADAFACTOR:
            return _over(of.update, of.initial_std), of.gradient, of.initial_std
        case OptimizerFamily.MUON:
            # Relative to the size of torch's own update (see `shape_factors`): its spectral norm where the tensor is
            # contracted alone, its elements where it is looked up.
            spectral = _ONE if goes_by_elements(tensor_class) else (0.5, 0.5)
            return _times(of.update, spectral), _times(of.gradient, (0.5, 0.5)), _ONE
        case _:
            assert_never(family)


def goes_by_elements(tensor_class: TensorClass) -> bool:
    """What is looked up, or multiplies, moves by its elements and not by its spectral norm."""
    return tensor_class in (*VECTOR_LIKE, TensorClass.TIED) and tensor_class is not TensorClass.INPUT


def _times(one: Exponents, other: Exponents) -> Exponents:
    return one[0] + other[0], one[1] + other[1]


def _over(one: Exponents, other: Exponents) -> Exponents:
    return one[0] - other[0], one[1] - other[1]
